"""The tools that agents may call, by name, and how a call is made safe."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import orjson
from pydantic import ValidationError

from hub.domain.errors import HubError

TIMEOUT_S = 60.0


class ToolKind(StrEnum):
    """Who makes a call of the tool, and what follows when nobody knows whether it was made.

    `safe`: it changes nothing, or the same however often it is called. The engine calls it within the turn, and again
    when the turn is repeated.
    `effect`: it is called once, by the run, which records it before and after. Only a person may have it called again.
    `approval`: as `effect`, and only after a person has agreed to the very arguments.
    `question`: a person's answer is its result; `run` gives the words to ask.
    """

    SAFE = "safe"
    EFFECT = "effect"
    APPROVAL = "approval"
    QUESTION = "question"


class Tool(Protocol):
    """Something an agent may have done.

    `parameters` is the JSON schema of `run`'s arguments, an object. `run` checks them itself (pydantic's
    ValidationError), may raise anything, and may be cancelled.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, object]: ...

    @property
    def kind(self) -> ToolKind: ...

    async def run(self, arguments: Mapping[str, object], /) -> str: ...


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call came to; an error's text is for the model and for people, so it names no internals."""

    text: str
    is_error: bool


class Tools:
    """Tools by name. A call has a wall-clock limit of `timeout_s` seconds."""

    def __init__(self, tools: Iterable[Tool], *, timeout_s: float = TIMEOUT_S) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._timeout_s = timeout_s

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def only(self, names: Iterable[str]) -> "Tools":
        """The tools with these names. KeyError names one that does not exist."""
        return Tools([self._tools[name] for name in names], timeout_s=self._timeout_s)

    def kind(self, name: str) -> ToolKind | None:
        """The kind of a tool; None when there is none of that name."""
        tool = self._tools.get(name)
        return tool.kind if tool is not None else None

    async def call(self, name: str, arguments: Mapping[str, object]) -> ToolOutcome:
        """Call a tool. Whatever it does, there is an outcome; only cancellation is raised.

        Whoever calls one that is not safe has seen to what its kind demands.
        """
        tool = self._tools.get(name)
        if tool is None:
            return ToolOutcome(f"there is no tool {name!r}", is_error=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                return ToolOutcome(await tool.run(arguments), is_error=False)
        except ValidationError as e:
            return ToolOutcome(f"invalid arguments: {_complaints(e)}", is_error=True)
        except HubError as e:
            return ToolOutcome(e.message, is_error=True)
        except TimeoutError:
            return ToolOutcome(f"{name} did not finish in {self._timeout_s:g} s", is_error=True)
        except (Exception, SystemExit) as e:  # noqa: BLE001 - boundary: a tool's fault is an answer to its agent
            return ToolOutcome(f"{name} failed: {type(e).__name__}", is_error=True)


def canonical(arguments: Mapping[str, object]) -> str:
    """Arguments as the one JSON text they have: keys sorted, no blanks, UTF-8. TypeError for what JSON cannot hold."""
    return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS).decode()


def _complaints(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, entry['loc'])) or 'arguments'}: {entry['msg']}"
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    )
