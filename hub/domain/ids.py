"""Identifiers: time-ordered UUIDs (RFC 9562, version 7), handed around as their canonical text."""

import os
import time
import uuid
from typing import NewType

SessionId = NewType("SessionId", str)
RunId = NewType("RunId", str)
MessageId = NewType("MessageId", str)
UserId = NewType("UserId", str)
OrganisationId = NewType("OrganisationId", str)
CallId = NewType("CallId", str)
RequestId = NewType("RequestId", str)
AttachmentId = NewType("AttachmentId", str)


def uuid7() -> uuid.UUID:
    """A version-7 UUID: 48 bits of Unix milliseconds, then 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    time_ms = time.time_ns() // 1_000_000
    return uuid.UUID(int=time_ms << 80 | 7 << 76 | (random >> 62 & 0xFFF) << 64 | 2 << 62 | random & ((1 << 62) - 1))


def new_id() -> str:
    """A fresh id as text."""
    digits = f"{uuid7().int:032x}"  # by itself, a UUID's text costs as much again as the UUID
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def parse_id(text: str) -> str | None:
    """The canonical form of an id a caller sent, or None when no id of ours can look like that."""
    if len(text) != 36:
        return None
    try:
        parsed = str(uuid.UUID(text))
    except ValueError:
        return None
    return parsed if parsed == text.lower() else None
