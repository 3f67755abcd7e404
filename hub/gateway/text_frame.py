"""What goes onto the wire: one WebSocket text frame around one or more server objects."""

import struct
from functools import lru_cache

_TEXT = 0x81  # final, and of a server: not masked


def text_frame(payload: bytes) -> bytes:
    """The whole frame. Whoever shows the same to many makes it once."""
    return _head(len(payload)) + payload


@lru_cache(maxsize=1_024)  # tokens have a few hundred lengths
def _head(length: int) -> bytes:
    if length < 126:
        return bytes((_TEXT, length))
    if length < 65_536:
        return struct.pack("!BBH", _TEXT, 126, length)
    return struct.pack("!BBQ", _TEXT, 127, length)
