"""The tool `ask_person`: a question to the people in the conversation, whose answer is its result."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from hub.engine.tools.registry import ToolKind


class AskPersonArguments(BaseModel):
    question: Annotated[str, Field(min_length=1, max_length=4000, description="What to ask, in full sentences")]


class AskPerson:
    """Asks the people in the conversation and waits, for days if need be."""

    name = "ask_person"
    description = "Asks a person in this conversation a question and gives their answer."
    kind = ToolKind.QUESTION

    def __init__(self) -> None:
        self.parameters: Mapping[str, object] = AskPersonArguments.model_json_schema()

    async def run(self, arguments: Mapping[str, object], /) -> str:
        """The question."""
        return AskPersonArguments.model_validate(arguments).question
