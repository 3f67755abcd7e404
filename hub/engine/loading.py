"""Python code that an operator names: modules, and entry points that installed packages offer."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Protocol, TypeVar


class Named(Protocol):
    """What is loaded has a name of its own."""

    @property
    def name(self) -> str: ...


NamedT = TypeVar("NamedT", bound=Named)


class LoadingError(Exception):
    """What an operator has named does not hold what it should; the text says why."""


def offered(group: str) -> list[EntryPoint]:
    """What installed packages offer in a group of entry points; nothing of it is imported."""
    return sorted(entry_points(group=group), key=lambda entry: entry.name)


def load(setting: str, group: str, kind: type[NamedT], names: Sequence[str], taken: Iterable[str] = ()) -> list[NamedT]:
    """Everything of this kind in these entry points and modules, which `setting` names. `taken` are names of things
    that are there already.

    An entry point is one thing, a list of things, or a module; all of a module are taken that it does not keep to
    itself with a leading underscore. Raises LoadingError.
    """
    found: dict[str, NamedT] = {}
    known = set(taken)
    for name in names:
        for one in _of(setting, group, kind, name):
            if one.name in known and found.get(one.name) is not one:
                raise LoadingError(f"{setting}: {name} has a {kind.__name__} {one.name!r}, and so has somebody else")
            known.add(one.name)
            found[one.name] = one
    return list(found.values())


def _of(setting: str, group: str, kind: type[NamedT], name: str) -> list[NamedT]:
    entry = next((entry for entry in offered(group) if entry.name == name), None)
    try:
        loaded: object = entry.load() if entry is not None else import_module(name)
    except Exception as e:
        raise LoadingError(f"{setting}: {name} cannot be loaded: {type(e).__name__}: {e}") from e
    if isinstance(loaded, kind):
        return [loaded]
    things: Iterable[object] = ()
    if isinstance(loaded, ModuleType):
        things = [value for key, value in vars(loaded).items() if not key.startswith("_")]
    elif isinstance(loaded, Iterable):
        things = loaded
    found = [one for one in things if isinstance(one, kind)]
    if not found:
        raise LoadingError(f"{setting}: {name} holds no {kind.__name__}")
    return found
