"""The tool `transfer`: stands for what must not be done without a person's yes."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from hub.engine.tools.registry import ToolKind


class TransferArguments(BaseModel):
    key: Annotated[str, Field(max_length=200, description="What to transfer")]


class Transfer:
    """Pretends to move something of value; nothing is moved."""

    name = "transfer"
    description = "Transfers what the key names. A person must approve it first."
    kind = ToolKind.APPROVAL

    def __init__(self) -> None:
        self.parameters: Mapping[str, object] = TransferArguments.model_json_schema()

    async def run(self, arguments: Mapping[str, object], /) -> str:
        return f"transferred {TransferArguments.model_validate(arguments).key}"
