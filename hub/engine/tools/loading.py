"""Tools that an operator names: modules, and entry points that installed packages offer."""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from hub.engine.tools.tool import Tool

GROUP = "agenthub.tools"


class ToolsError(Exception):
    """What an operator has named as tools holds none; the text says why."""


def offered() -> list[EntryPoint]:
    """What installed packages offer; nothing of it is imported."""
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def load(names: Sequence[str], taken: Iterable[str]) -> list[Tool]:
    """The tools of these entry points and modules. `taken` are names of tools that are there already.

    An entry point is a tool, a list of tools, or a module; all tools of a module are taken that it does not keep to
    itself with a leading underscore. Raises ToolsError.
    """
    found: dict[str, Tool] = {}
    known = set(taken)
    for name in names:
        for one in _of(name):
            if one.name in known and found.get(one.name) is not one:
                raise ToolsError(f"HUB_TOOLS: {name} has a tool {one.name!r}, and so has somebody else")
            known.add(one.name)
            found[one.name] = one
    return list(found.values())


def _of(name: str) -> list[Tool]:
    entry = next((entry for entry in offered() if entry.name == name), None)
    try:
        loaded: object = entry.load() if entry is not None else import_module(name)
    except Exception as e:
        raise ToolsError(f"HUB_TOOLS: {name} cannot be loaded: {type(e).__name__}: {e}") from e
    tools = list(_tools(loaded))
    if not tools:
        raise ToolsError(f"HUB_TOOLS: {name} holds no tool; `hub.engine.tools.tool` makes one of a function")
    return tools


def _tools(loaded: object) -> Iterator[Tool]:
    if isinstance(loaded, Tool):
        yield loaded
    elif isinstance(loaded, ModuleType):
        yield from (v for k, v in vars(loaded).items() if isinstance(v, Tool) and not k.startswith("_"))
    elif isinstance(loaded, Iterable):
        yield from (one for one in loaded if isinstance(one, Tool))
