"""YAML as data from a stranger: bounded, without tags, anchors and aliases, and with the place of everything in it.

Scalars are those of YAML 1.2's core schema: `no` and `on` are words. What a document holds is dictionaries with text
as keys, lists, text, numbers, true, false and null.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MAX_BYTES = 65_536
MAX_DEPTH = 16
MAX_NODES = 5_000

Path = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]{1,15}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,15}\.[0-9]{0,15}|\.[0-9]{1,15}|[0-9]{1,15})(?:[eE][-+]?[0-9]{1,2})?")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: value for word, value in (("true", True), ("false", False)) for spelling in (word, word.title())
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Line and column, from 1."""

    line: int
    column: int


class Unreadable(Exception):
    """The text is no YAML, or YAML that is not taken. The message says what is wrong at `place`."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Document:
    """What a text holds. `places` are those of keys and of items of lists, by their path from the top, `()`."""

    value: object = None
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Where something is, or the innermost thing around it that is there."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))


def read(text: bytes) -> Document:
    """Read one document. Raises Unreadable."""
    if len(text) > MAX_BYTES:
        raise Unreadable(f"the file has more than {MAX_BYTES:,} bytes", Place(1, 1))
    try:
        words = text.decode()
    except UnicodeDecodeError as e:
        raise Unreadable("the file is not UTF-8", _place_of(text[: e.start].decode(), e.start)) from None
    try:
        return _Reader(words).document()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
        raise Unreadable(e.problem or e.context or "this is not YAML", place) from None
    except yaml.reader.ReaderError as e:
        raise Unreadable("a character that YAML does not allow", _place_of(words, e.position)) from None


class _Reader:
    """Makes values of events, one by one: nothing is built before it is counted."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._nodes = count(1)
        self._found = Document()

    def document(self) -> Document:
        event = self._next()
        if isinstance(event, DocumentStartEvent):
            self._found.value = self._value(self._next(), (), 0)
            self._next()  # the end of the document
            event = self._next()
            if isinstance(event, DocumentStartEvent):
                raise Unreadable("a file holds one document", _place(event))
        return self._found

    def _next(self) -> Event:
        event = next(self._events)
        if isinstance(event, yaml.StreamStartEvent):
            event = next(self._events)
        return event

    def _value(self, event: Event, path: Path, depth: int) -> object:
        self._found.places.setdefault(path, _place(event))
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", _place(event))
        if next(self._nodes) > MAX_NODES:
            raise Unreadable(f"more than {MAX_NODES:,} values", _place(event))
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Unreadable("anchors (&) and aliases (*) are not taken", _place(event))
        if getattr(event, "tag", None) is not None:
            raise Unreadable("tags (!) are not taken", _place(event))
        if isinstance(event, MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path, depth)
        assert isinstance(event, ScalarEvent)
        if _CONTROL.search(event.value):
            raise Unreadable("control characters and halves of characters are not taken", _place(event))
        return event.value if event.style else _plain(event.value)

    def _mapping(self, path: Path, depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise Unreadable("a key is a word", _place(event))
            key = event.value  # a word, whatever it looks like
            if key in made:
                raise Unreadable(f"the key {_short(key)} stands here twice", _place(event))
            if key == "<<":
                raise Unreadable("merging (<<) is not taken", _place(event))
            self._value(event, (*path, key), depth + 1)
            made[key] = self._value(self._next(), (*path, key), depth + 1)
        return made

    def _sequence(self, path: Path, depth: int) -> list[object]:
        made: list[object] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            made.append(self._value(event, (*path, len(made)), depth + 1))
        return made


def _plain(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _place(event: Event) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _place_of(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
