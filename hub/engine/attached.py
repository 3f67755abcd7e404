"""How agents are told of attachments: a line of words, from which whoever can show more finds what is meant."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from hub.domain.attachment import ALLOWED, IMAGES, TEXTS, Attachment
from hub.domain.ids import AttachmentId, SessionId

MAX_PICTURES = 8
"""That a model is shown at once: the newest."""
MAX_PICTURE_BYTES = 3_750_000
"""Of one picture that a model is shown: what the strictest provider takes, in base64."""
MAX_TEXTS = 4
"""That a model is given at once: the newest."""
MAX_TEXT = 20_000
"""Characters of one text that a model is given: its beginning."""

_NOTE = re.compile(
    rf"^\[attachment ([0-9a-f-]{{36}}): [^\n]*, ({'|'.join(map(re.escape, ALLOWED))}), [0-9,]+ bytes\]$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for a model, its content in base64."""

    media_type: str
    base64: str

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{self.media_type};base64,{self.base64}"


@dataclass(frozen=True, slots=True)
class Writing:
    """A text for a model, or its beginning."""

    text: str


Content = Picture | Writing
Fetch = Callable[[Sequence[AttachmentId]], Awaitable[Mapping[AttachmentId, Content]]]
"""Fetches what attachments of a session hold; what is too large or is not there any more is left out."""
FetchIn = Callable[[SessionId, Sequence[AttachmentId]], Awaitable[Mapping[AttachmentId, Content]]]
DescribeIn = Callable[[SessionId, Sequence[AttachmentId]], Awaitable[Mapping[AttachmentId, Attachment]]]
"""What is known of attachments of a session that were sent; others are left out. Raises `Unavailable`."""


def content_of(media_type: str, content: bytes) -> Content:
    """A picture, or a text, of which there may be only the beginning."""
    if media_type in IMAGES:
        return Picture(media_type, base64.b64encode(content).decode())
    text = content.decode(errors="ignore")  # half a character at the end of a piece
    return Writing(text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n[the rest is left out]")


def note(part: Mapping[str, object]) -> str:
    """The line about an attachment that a message has as a part."""
    return f"[attachment {part['id']}: {part['name']}, {part['media_type']}, {part['size']:,} bytes]"


def named_in(text: str) -> list[AttachmentId]:
    """The attachments that a message is told to have. Who writes such a line by hand shows what the session has
    anyway."""
    return [AttachmentId(id_) for id_, _ in _NOTE.findall(text)]


def newest(texts: Sequence[str], *, sees: bool) -> list[AttachmentId]:
    """What a model is to be given of what these messages name, the newest last: texts, and pictures if it sees."""
    wanted = _newest(texts, TEXTS, MAX_TEXTS)
    return [*wanted, *_newest(texts, IMAGES, MAX_PICTURES)] if sees else wanted


def given(text: str, found: Mapping[AttachmentId, Content]) -> tuple[str, list[Picture]]:
    """A message with what the texts hold that it names, and its pictures."""
    named = [(id_, found[id_]) for id_ in named_in(text) if id_ in found]
    held = [f"[attachment {id_} holds:]\n{one.text}" for id_, one in named if isinstance(one, Writing)]
    return "\n\n".join([text, *held]), [one for _, one in named if isinstance(one, Picture)]


def _newest(texts: Sequence[str], kinds: Sequence[str], most: int) -> list[AttachmentId]:
    named = [AttachmentId(id_) for text in texts for id_, kind in _NOTE.findall(text) if kind in kinds]
    return list(dict.fromkeys(reversed(named)))[:most]
