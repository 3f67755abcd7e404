"""The tools that every hub has."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from hub.domain.ids import SessionId
from hub.domain.team import TAKE_TURN
from hub.engine.tools.calculator import calculate
from hub.engine.tools.function import tool
from hub.engine.tools.tool import Arguments, Tool, ToolContext, ToolKind

Increment = Callable[[str], Awaitable[int]]
"""Adds 1 to the counter of that name, durably, and returns its new value."""


@dataclass(frozen=True, slots=True)
class Found:
    """A message in which words were found."""

    author: str
    said_at: str
    text: str


Search = Callable[[SessionId, str, int], Awaitable[Sequence[Found]]]
"""Messages of one session in which these words are found, at most so many, the newest first."""

Key = Annotated[str, Field(max_length=200)]


def builtin_tools(increment: Increment, search: Search) -> list[Tool]:
    """`clock`, `calculator`, `search_transcript`, `ask_person`; for the scripted teams also `counter`, `transfer`."""
    return [CLOCK, calculator, _search_transcript(search), ask_person, take_turn, _counter(increment), transfer]


async def _now(_arguments: Arguments, _context: ToolContext, /) -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


CLOCK = Tool(
    name="clock",
    description="Tells the present date and time in UTC.",
    parameters={"type": "object", "properties": {}, "required": []},
    kind=ToolKind.SAFE,
    run=_now,  # arguments are ignored
)


@tool("safe")
async def calculator(expression: str) -> str:
    """Works out an arithmetic expression, as `(2 + 3) * 4 / sqrt(2)`.

    Args:
        expression: Numbers, + - * / // % and ** or ^, brackets, pi, e, and functions: sqrt, log, sin, min, round …
    """
    return calculate(expression)


def _search_transcript(search: Search) -> Tool:
    @tool("safe")
    async def search_transcript(
        query: Annotated[str, Field(min_length=1, max_length=500)],
        context: ToolContext,
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
    ) -> Mapping[str, object]:
        """Searches what was said earlier in this conversation; the newest messages come first.

        Args:
            query: Words that all must be there; "…" is a phrase, `or` stands between alternatives.
            limit: How many messages at most.
        """
        return {"messages": await search(context.session, query, limit)}

    return search_transcript


@tool("question")
async def ask_person(question: Annotated[str, Field(min_length=1, max_length=4000)]) -> str:
    """Asks a person in this conversation a question and gives their answer.

    Args:
        question: What to ask, in full sentences.
    """
    return question


@tool("question", name=TAKE_TURN)
async def take_turn(
    prompt: Annotated[str, Field(min_length=1, max_length=20_000)],
    user: str | None = None,  # noqa: ARG001 - read by who takes the answer
) -> str:
    """Asks for a person's turn in a team that has a place for one; teams do not list it.

    Args:
        prompt: What the turn is about.
        user: Who may take it; else any editor of the session.
    """
    return prompt


def _counter(increment: Increment) -> Tool:
    @tool("effect")
    async def counter(key: Key) -> str:
        """Adds 1 to the counter with the given key and tells its new value.

        Args:
            key: The counter's name.
        """
        return str(await increment(key))

    return counter


@tool("approval")
async def transfer(key: Key) -> str:
    """Transfers what the key names. A person must approve it first.

    Args:
        key: What to transfer.
    """
    return f"transferred {key}"  # it stands for what must not be done without a yes; nothing is moved
