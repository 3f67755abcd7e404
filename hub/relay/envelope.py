"""What travels on the channel of a session: one header line for the rooms, then the client's frame as it is.

<session> E <seq> <closes>\\n<frame>                  a durable event; `closes`: the message it ends, `*` all, `-` none,
                                                      `!` none, and the log has changed before it; `<` and a user's
                                                      id none, and that user is no member any more
<session> R <seq> -\\n                                the log has grown up to `seq`: read it there (too large a frame)
<session> D <message> <index> <n> <seq>\\n<frame>     a delta of an open message that was opened after event `seq`
<session> S <message> <index> <n> <seq>\\n[<frame>]   its whole text so far; without a frame: read it in Redis
<session> L\\n<frame>                                 anything else live

The session is named although the channel is its own: whoever hears one that is not the channel's knows that something
between the workers has mixed up its connections.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import orjson

from hub.domain.ids import SessionId
from hub.protocol.frames import LoggedEvent

MAX_BYTES = 65_536  # an envelope; larger ones fill the server's output buffer for subscribers and get them cut off
ALL = "*"
NOTHING = "-"
LEFT = "<"  # before the id of a user who is no member any more; ends none
FORGET = "!"  # ends none; what was shown before is not the truth any more


class Kind(StrEnum):
    DURABLE = "E"
    READ_LOG = "R"
    DELTA = "D"
    SNAPSHOT = "S"
    LIVE = "L"


_OF_THE_LOG = (b"E ", b"R ")  # `DURABLE` and `READ_LOG`


@dataclass(slots=True)
class Envelope:
    """A parsed payload. `seq` is the event's own (E, R) or that of the last event before the message (D, S).

    `message` is the open message (D, S) or what the event closes (E): a message id, `ALL` or `NOTHING`.
    """

    session: str
    kind: Kind
    seq: int
    message: str
    index: int
    n: int
    frame: bytes


def durable(event: LoggedEvent) -> bytes:
    """The payload of a committed event; asks to read the log when it would be too large."""
    payload = f"{event.session} E {event.seq} {closes(event)}\n".encode() + event.frame()
    return payload if len(payload) <= MAX_BYTES else f"{event.session} R {event.seq} {NOTHING}\n".encode()


def delta(session: SessionId, message: str, index: int, seq: int, frame: bytes) -> bytes:
    """The payload of one `message.delta`."""
    return delta_format(session, message, seq) % index + frame


def delta_header(session: SessionId, message: str, seq: int) -> tuple[bytes, bytes]:
    """What stands before and after the index in the header line of a delta: a room knows by it the one it waits for."""
    return f"{session} D {message} ".encode(), _behind_index(seq)


@lru_cache(maxsize=1_024)  # rooms hold them, and many are equal: one object of all is in the cache
def _behind_index(seq: int) -> bytes:
    return b" 1 %d" % seq


def delta_format(session: SessionId, message: str, seq: int) -> bytes:
    """The header line of a delta as a format for `%`, of the index, for who makes many."""
    before, after = delta_header(session, message, seq)
    return b"%b%%d%b\n" % (before.replace(b"%", b"%%"), after)


def snapshot(session: SessionId, message: str, index: int, seq: int, frame: bytes) -> bytes:
    """The payload of a `message.snapshot`; without the frame when it would be too large."""
    header = f"{session} S {message} {index} 1 {seq}\n".encode()
    return header + frame if len(header) + len(frame) <= MAX_BYTES else header


def live(session: SessionId, frame: bytes) -> bytes:
    """The payload of a live event that has no position of its own."""
    return f"{session} L\n".encode() + frame


def closes(event: LoggedEvent) -> str:
    """Which open messages the event ends: a message id, `ALL`, `NOTHING`, `FORGET`, or `LEFT` and a user's id."""
    if event.type == "message.completed":
        return str(orjson.loads(event.data)["message"])
    if event.type in ("message.redacted", "member.removed") and '"erased"' in event.data:
        return FORGET
    if event.type == "member.removed":
        return f"{LEFT}{orjson.loads(event.data)['user']}"
    return ALL if event.type in ("turn.superseded", "run.finished") else NOTHING


def tells_of_the_log(payload: bytes) -> bool:
    """Whether an event has been committed, without a look at the rest: most payloads are pieces of messages."""
    at = payload.find(b" ") + 1
    return payload[at : at + 2] in _OF_THE_LOG


def parse(payload: bytes) -> Envelope:
    """The envelope of a payload. Raises ValueError for anything that is none."""
    header, newline, frame = payload.partition(b"\n")
    if not newline or (frame and frame[:1] != b"{"):
        raise ValueError("not an envelope")
    match header.decode("ascii").split(" "):
        case [session, "D" | "S" as kind, message, index, n, seq] if frame or kind == "S":
            return Envelope(session, Kind(kind), _number(seq), message, _number(index), _number(n), frame)
        case [session, "E", seq, closed] if frame:
            return Envelope(session, Kind.DURABLE, _number(seq), closed, 0, 1, frame)
        case [session, "R", seq, "-"] if not frame:
            return Envelope(session, Kind.READ_LOG, _number(seq), NOTHING, 0, 1, frame)
        case [session, "L"] if frame:
            return Envelope(session, Kind.LIVE, 0, NOTHING, 0, 1, frame)
        case _:
            raise ValueError("not an envelope")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 16:
        raise ValueError("not a position")
    return int(text)
