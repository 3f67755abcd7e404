"""The tools that agents may call, by name, and how a call is made safe."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from hub.domain.errors import HubError

TIMEOUT_S = 60.0
NEEDS_APPROVAL = "needs approval: not supported yet"


class Tool(Protocol):
    """Something an agent may have done.

    `parameters` is the JSON schema of `run`'s arguments, an object. `run` checks them itself (pydantic's
    ValidationError), may raise anything, and may be cancelled. A tool that `needs_approval` is not run without one.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, object]: ...

    @property
    def needs_approval(self) -> bool: ...

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

    async def call(self, name: str, arguments: Mapping[str, object]) -> ToolOutcome:
        """Call a tool. Whatever it does, there is an outcome; only cancellation is raised."""
        tool = self._tools.get(name)
        if tool is None:
            return ToolOutcome(f"there is no tool {name!r}", is_error=True)
        if tool.needs_approval:
            return ToolOutcome(NEEDS_APPROVAL, is_error=True)
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


def _complaints(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, entry['loc'])) or 'arguments'}: {entry['msg']}"
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    )
