"""The runnables that teams may name: made by an operator's code, once per worker and set of tools."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GROUP = "agenthub.runnables"

Make = Callable[[Mapping[str, Any]], Any]
"""Gives the runnable, or the compiled graph; gets those of the hub's tools that the team names, as LangChain's."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")


@dataclass(frozen=True, slots=True)
class Runnable:
    """A runnable by name, not made yet. `sees`: its models take pictures."""

    name: str
    make: Make
    sees: bool = False


def runnable(name: str, *, sees: bool = False) -> Callable[[Make], Runnable]:
    """Register a function that makes a LangChain `Runnable` or a compiled LangGraph graph.

    It gets a mapping of tools by name, those of the hub that the team names. A runnable takes a list of messages and
    gives messages or text; a graph has a state with `messages`, and is compiled without a checkpointer: the hub keeps
    its state. With `sees` the pictures that messages have are content blocks of them (`{"type": "image", "base64": …,
    "mime_type": …}`): its models must be able to see. ValueError for a name that teams cannot write.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name: a small letter, then small letters, digits, - and _")

    def made(make: Make) -> Runnable:
        return Runnable(name, make, sees)

    return made


class Runnables:
    """Runnables by name. `make` is called when one is needed, and what it gives is used for all sessions."""

    def __init__(self, runnables: Iterable[Runnable] = ()) -> None:
        self._known = {one.name: one for one in runnables}
        self._made: dict[tuple[str, tuple[str, ...]], Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def names(self) -> Collection[str]:
        """All names."""
        return self._known.keys()

    def sees(self, name: str) -> bool:
        """Whether its models take pictures; those of one that is unknown do not."""
        return name in self._known and self._known[name].sees

    def get(self, name: str, tools: Mapping[str, Any]) -> Any:
        """The runnable with these tools. KeyError when there is none of that name; raises what its author's code
        raises."""
        key = name, tuple(sorted(tools))
        if key not in self._made:
            self._made[key] = self._known[name].make(tools)
        return self._made[key]
