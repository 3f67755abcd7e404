"""Attachments: what people send beside their words, and which kinds of content there may be."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from hub.domain.ids import AttachmentId, SessionId, UserId

MAX_NAME = 200
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
TEXT = "text/plain"
TEXTS = (TEXT, "text/markdown", "text/csv", "application/json")
PDF = "application/pdf"
ALLOWED = (*IMAGES, PDF, *TEXTS)

_ANY = ("", "application/octet-stream")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, direction, halves of characters, ends of lines


class NotAllowed(Exception):
    """Content of a kind that is not taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What was uploaded to a session. `sha256` is the digest of its `size` bytes; both hold once it is complete."""

    id: AttachmentId
    session: SessionId
    user: UserId
    name: str
    media_type: str
    size: int
    sha256: bytes
    created_at: datetime


def media_type_of(beginning: bytes, declared: str | None) -> str:
    """The kind of content that begins with these bytes. What the sender has declared must be
    of its family; of a text it says which kind. Raises NotAllowed."""
    said = (declared or "").split(";")[0].strip().lower()
    found = _sniffed(beginning)
    if found == TEXT:
        if said.startswith(("image/", "audio/", "video/", "font/")) or said == PDF:
            raise NotAllowed("the content is not what its type says")
        return said if said in TEXTS else TEXT
    if said not in _ANY and said.split("/")[0] != found.split("/")[0]:
        raise NotAllowed("the content is not what its type says")
    return found


def clean_name(name: str) -> str:
    """A file's name without folders, without dots at its ends, which hide files or name folders, and without what
    nobody can see: one line that looks like what it is."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(c for c in last if unicodedata.category(c) not in _INVISIBLE)
    return shown.strip(" .")[-MAX_NAME:] or "attachment"


def _sniffed(beginning: bytes) -> str:
    """The kind that the first bytes tell; what looks like nothing else is text until a byte shows that it is none."""
    if beginning.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if beginning.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if beginning.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return "image/webp"
    if beginning.startswith(b"%PDF-"):
        return PDF
    return TEXT
