"""The tool `counter`: a side effect that shows when a call was made twice."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from hub.engine.tools.registry import ToolKind

Increment = Callable[[str], Awaitable[int]]
"""Adds 1 to the counter of that name, durably, and returns its new value."""


class CounterArguments(BaseModel):
    key: Annotated[str, Field(max_length=200, description="The counter's name")]


class Counter:
    """Adds 1 to a counter and tells its new value."""

    name = "counter"
    description = "Adds 1 to the counter with the given key and tells its new value."
    kind = ToolKind.EFFECT

    def __init__(self, increment: Increment) -> None:
        self._increment = increment
        self.parameters: Mapping[str, object] = CounterArguments.model_json_schema()

    async def run(self, arguments: Mapping[str, object], /) -> str:
        """The new value, as digits."""
        return str(await self._increment(CounterArguments.model_validate(arguments).key))
