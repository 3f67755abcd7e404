"""Frames of clients (RFC 6455), out of the bytes that came, and messages out of frames."""

from dataclasses import dataclass
from typing import NamedTuple

from websockets.exceptions import ProtocolError
from websockets.frames import Close as CloseFrame
from websockets.frames import CloseCode

from hub.protocol.close import Close

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without its part in C
    from websockets.utils import apply_mask

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL, _RESERVED, _CONTROL, _MASKED = 0x80, 0x70, 0x08, 0x80
_KNOWN = frozenset({CONT, TEXT, BINARY, CLOSE, PING, PONG})
_MAX_CONTROL_BYTES = 125

MAX_FRAGMENTS = 64  # of one message


class Violation(Exception):
    """The peer has broken the protocol; the connection ends with this code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Incoming(NamedTuple):
    """One frame, unmasked. `end` is where the next one begins."""

    opcode: int
    is_final: bool
    payload: bytes
    end: int


def next_frame(data: bytes, at: int, *, max_bytes: int) -> Incoming | None:
    """The frame that begins at `at`; None while it is not whole. Raises `Violation`, also as soon as its beginning
    tells that it cannot be taken: when what it says is larger than `max_bytes`, say; a ping counts for nothing."""
    here = len(data) - at
    if here < 2:
        return None
    first, second = data[at], data[at + 1]
    opcode = first & 0x0F
    if opcode not in _KNOWN:
        raise Violation(CloseCode.PROTOCOL_ERROR, "invalid opcode")
    if not second & _MASKED:
        raise Violation(CloseCode.PROTOCOL_ERROR, "incorrect masking")
    length, head = second & 0x7F, 6
    if length >= 126:
        head = 8 if length == 126 else 14
        if here < head - 4:
            return None
        length = int.from_bytes(data[at + 2 : at + head - 4])
    if first & _RESERVED:
        raise Violation(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")
    if opcode & _CONTROL:
        if length > _MAX_CONTROL_BYTES:
            raise Violation(CloseCode.PROTOCOL_ERROR, "control frame too long")
        if not first & _FINAL:
            raise Violation(CloseCode.PROTOCOL_ERROR, "fragmented control frame")
    elif length > max_bytes:
        raise Violation(CloseCode.MESSAGE_TOO_BIG, f"frame with {length} bytes exceeds limit of {max_bytes} bytes")
    start = at + head
    end = start + length
    if end > len(data):
        return None
    payload = apply_mask(data[start:end], data[start - 4 : start]) if length else b""
    return Incoming(opcode, bool(first & _FINAL), payload, end)


class Fragments:
    """A text or binary message of which a part has come. `size` is in bytes, so far."""

    __slots__ = ("_parts", "is_text", "size")

    def __init__(self, first: Incoming) -> None:
        self.is_text = first.opcode == TEXT
        self.size = len(first.payload)
        self._parts = [first.payload]

    def add(self, frame: Incoming) -> None:
        """The next part. Raises `Violation` when they are too many."""
        if len(self._parts) >= MAX_FRAGMENTS:
            raise Violation(Close.POLICY, "too many fragments")
        self._parts.append(frame.payload)
        self.size += len(frame.payload)

    def whole(self) -> bytes:
        return b"".join(self._parts)


@dataclass(frozen=True, slots=True)
class End:
    """The last thing that a connection has to say: why it ended."""

    code: int
    reason: str = ""


def end_of(payload: bytes) -> End:
    """What a close frame of the peer says. Raises `Violation`."""
    try:
        parsed = CloseFrame.parse(payload)
    except ProtocolError as e:
        raise Violation(CloseCode.PROTOCOL_ERROR, str(e)) from None
    except UnicodeDecodeError as e:
        raise Violation(CloseCode.INVALID_DATA, f"{e.reason} at position {e.start}") from None
    return End(parsed.code, parsed.reason)
