"""Text from agents and strangers, made harmless for a terminal: it cannot move the cursor, retitle, or hide itself."""

import re

_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # marks that turn the direction of what follows
)


def safe(text: str) -> str:
    """The text with every character that a terminal would act upon made visible as �."""
    return _HARMFUL.sub("\ufffd", text.replace("\r\n", "\n"))
