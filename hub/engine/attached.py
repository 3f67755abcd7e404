"""How agents are told of attachments: a line of words, from which whoever can show more finds what is meant."""

from collections.abc import Mapping


def note(part: Mapping[str, object]) -> str:
    """The line about an attachment that a message has as a part."""
    return f"[attachment {part['id']}: {part['name']}, {part['media_type']}, {part['size']:,} bytes]"
