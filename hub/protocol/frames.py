"""Frames as bytes: built once by whoever has something to say, never parsed again on their way to a socket.

A server frame on the wire holds one or more of these objects, joined by a newline.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hub.domain.ids import RunId, SessionId, UserId
from hub.protocol.durable import DurableData
from hub.protocol.events import AnyEvent
from hub.protocol.live import LiveData
from hub.protocol.pieces import Optional, Person, Wire

MAX_FRAME_BYTES = 65_536  # of a client's frame


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def now() -> str:
    """The wire's form of this moment."""
    return stamp(now_ms()).decode()


def now_ms() -> int:
    """This moment in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def written_ms(frame: bytes) -> int:
    """The time in a frame, as `now_ms` gives it. Raises ValueError when it has none."""
    at = frame.index(b'"ts":"') + 6
    return round(datetime.fromisoformat(frame[at : at + 24].decode()).timestamp() * 1000)


@lru_cache(maxsize=32)
def stamp(ms: int) -> bytes:
    """Every token carries the time, and those that leave together came within a few milliseconds."""
    return b"%b.%03dZ" % (_second(ms // 1000), ms % 1000)


@lru_cache(maxsize=4)
def _second(unix_s: int) -> bytes:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A durable event that has no `seq` yet."""

    data: DurableData
    run: RunId | None = None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A durable event as the log holds it. `data` is its JSON text, so that live and replay are the same bytes."""

    session: SessionId
    seq: int
    type: str
    run: RunId | None
    ts: datetime
    data: str

    def frame(self) -> bytes:
        """The object a client gets."""
        run = f'"run":"{self.run}",' if self.run is not None else ""
        return (
            f'{{"type":"{self.type}","session":"{self.session}","seq":{self.seq},{run}'
            f'"ts":"{timestamp(self.ts)}","data":{self.data}}}'
        ).encode()


def live_frame(data: LiveData, session: SessionId | None = None, run: RunId | None = None) -> bytes:
    """The object of a live event."""
    about = f'"session":"{session}",' if session is not None else ""
    about += f'"run":"{run}",' if run is not None else ""
    return f'{{"type":"{data.TYPE}",{about}"ts":"{now()}","data":{data.model_dump_json()}}}'.encode()


class DeltaFrames:
    """Builds the frames of one open message; what does not change is encoded once. Their time is `ms` (`now_ms`), or
    now."""

    __slots__ = ("_about", "_data", "_delta")

    def __init__(self, session: SessionId, run: RunId, message: str, turn: int, author: str, display_name: str) -> None:
        who = orjson.dumps({"kind": "agent", "name": author, "display_name": display_name}).decode()
        self._about = f',"session":"{session}","run":"{run}","ts":"'.encode()
        self._data = f'","data":{{"message":"{message}","turn":{turn},"author":{who},"index":'.encode()
        self._delta = b'{"type":"message.delta"' + self._about

    def delta(self, index: int, text: str, ms: int | None = None) -> bytes:
        """`message.delta` with this piece of text."""
        return self._frame(self._delta, index, text, ms)

    def delta_format(self) -> bytes:
        """`delta` as a format for `%`, for who makes many: of `stamp(ms)`, the index, and the text in JSON."""
        head, data = (part.replace(b"%", b"%%") for part in (self._delta, self._data))
        return head + b"%b" + data + b'%d,"text":%b}}'

    def reasoning(self, index: int, text: str, ms: int | None = None) -> bytes:
        """`reasoning.delta` with this piece of text."""
        return self._frame(b'{"type":"reasoning.delta"' + self._about, index, text, ms)

    def snapshot(self, index: int, text: str, ms: int | None = None) -> bytes:
        """`message.snapshot` with the whole text so far; the next delta is `index`."""
        return self._frame(b'{"type":"message.snapshot"' + self._about, index, text, ms)

    def snapshot_of(self, index: int, text: bytes) -> bytes:
        """`snapshot` of a text that is encoded already, as `encoded_text` gives it."""
        head = b'{"type":"message.snapshot"' + self._about
        return b'%b%b%b%d,"text":"%b"}}' % (head, stamp(now_ms()), self._data, index, text)

    def _frame(self, head: bytes, index: int, text: str, ms: int | None) -> bytes:
        at = stamp(now_ms() if ms is None else ms)
        return b'%b%b%b%d,"text":%b}}' % (head, at, self._data, index, orjson.dumps(text))


# Neither occurs inside an encoded string: quotes are escaped there.
TEXT_FIELD = b',"text":"'
_COUNT_FIELD = b'","n":'


def encoded_text(frame: bytes) -> bytes:
    """The inside of the JSON string `text` of a delta or a snapshot, whose last field it is but for `n`.

    Raises ValueError when the frame has none.
    """
    start = frame.find(TEXT_FIELD) + len(TEXT_FIELD)
    if start < len(TEXT_FIELD) or not frame.endswith(b"}}"):
        raise ValueError("a frame without a text")
    counted = frame.find(_COUNT_FIELD, start)
    return frame[start:counted] if counted >= 0 else frame[start:-3]


class ReplyError(Wire):
    """Why a command failed. `retry_after` is in seconds."""

    code: str
    message: str
    retryable: bool
    retry_after: float | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Reply(Wire):
    """The one answer to a command: `result` when `ok`, else `error`."""

    type: Literal["reply"] = "reply"
    id: str | None
    ok: bool
    result: Annotated[dict[str, Any] | None, Optional] = None
    error: Annotated[ReplyError | None, Optional] = None


class HelloLimits(Wire):
    frame_bytes: int
    commands_per_minute: int
    sessions: int


class Hello(Wire):
    """The first frame after authentication."""

    type: Literal["hello"] = "hello"
    connection: str
    user: Person
    node: str
    expires_at: str
    heartbeat_s: int
    limits: HelloLimits


class HelloFrames:
    """Builds `Hello` for each connection of a node; what is the same for all is encoded once."""

    def __init__(self, node: str, heartbeat_s: int, limits: HelloLimits) -> None:
        self._node = b'},"node":%b,"expires_at":"' % orjson.dumps(node)
        self._end = b'","heartbeat_s":%d,"limits":%b}' % (heartbeat_s, limits.model_dump_json().encode())

    def frame(self, connection: str, user: UserId, name: str, expires_at: datetime) -> bytes:
        """The object as it goes onto the wire."""
        who = b'{"type":"hello","connection":"%b","user":{"id":"%b","name":%b' % (
            connection.encode(),
            user.encode(),
            orjson.dumps(name),
        )
        return who + self._node + _until(expires_at) + self._end


@lru_cache(maxsize=1_024)
def _until(moment: datetime) -> bytes:
    """Those who come back show the same credential."""
    return timestamp(moment).encode()


def ok(command_id: str, result: BaseModel | dict[str, Any]) -> bytes:
    """A successful reply."""
    body = result.model_dump_json().encode() if isinstance(result, BaseModel) else orjson.dumps(result)
    return b'{"type":"reply","id":' + orjson.dumps(command_id) + b',"ok":true,"result":' + body + b"}"


def failed(command_id: str | None, error: ReplyError) -> bytes:
    """A reply that tells what went wrong."""
    return (
        b'{"type":"reply","id":'
        + orjson.dumps(command_id)
        + b',"ok":false,"error":'
        + error.model_dump_json().encode()
        + b"}"
    )


class Unknown(BaseModel):
    """A frame of a type this client does not know: to be ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str


ServerFrame = Hello | Reply | AnyEvent
_SERVER_FRAME: TypeAdapter[ServerFrame] = TypeAdapter(Annotated[ServerFrame, Field(discriminator="type")])
_KNOWN = frozenset(model.model_fields["type"].default for model in (Hello, Reply, *AnyEvent.__args__))


def parse_server_frame(line: str | bytes) -> ServerFrame | Unknown:
    """What a client received: one object. Raises `pydantic.ValidationError` when a known type is malformed."""
    raw = orjson.loads(line)
    if raw.get("type") not in _KNOWN:
        return Unknown.model_validate(raw)
    return _SERVER_FRAME.validate_python(raw)
