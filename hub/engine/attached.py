"""How agents are told of attachments: a line of words, from which whoever can show more finds what is meant."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from hub.domain.attachment import IMAGES
from hub.domain.ids import AttachmentId, SessionId

MAX_PICTURES = 8
"""That a model is shown at once: the newest."""
MAX_PICTURE_BYTES = 3_750_000
"""Of one picture that a model is shown: what the strictest provider takes, in base64."""

_PICTURE = re.compile(
    rf"^\[attachment ([0-9a-f-]{{36}}): [^\n]*, (?:{'|'.join(map(re.escape, IMAGES))}), [0-9,]+ bytes\]$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for a model, its content in base64."""

    media_type: str
    base64: str

    @classmethod
    def of(cls, media_type: str, content: bytes) -> "Picture":
        """The picture with this content."""
        return cls(media_type, base64.b64encode(content).decode())

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{self.media_type};base64,{self.base64}"


See = Callable[[Sequence[AttachmentId]], Awaitable[Mapping[AttachmentId, Picture]]]
"""Fetches pictures of a session; what is none, is too large or is not there any more is left out."""
SeeIn = Callable[[SessionId, Sequence[AttachmentId]], Awaitable[Mapping[AttachmentId, Picture]]]


def note(part: Mapping[str, object]) -> str:
    """The line about an attachment that a message has as a part."""
    return f"[attachment {part['id']}: {part['name']}, {part['media_type']}, {part['size']:,} bytes]"


def pictures_in(text: str) -> list[AttachmentId]:
    """The pictures that a message is told to have. Who writes such a line by hand shows what the session has anyway."""
    return [AttachmentId(id_) for id_ in _PICTURE.findall(text)]
