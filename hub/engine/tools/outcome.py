"""What a call comes to, and how much of it is shown."""

from dataclasses import dataclass

MAX_RESULT = 1_000_000  # characters of a result that are kept
MAX_SHOWN = 32_000  # characters of a result in the log, and for the agent that asked


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call came to; an error's text is for the model and for people, so it names no internals."""

    text: str
    is_error: bool

    @property
    def shown(self) -> str:
        """The result as its agent gets it."""
        return shown(self.text)


class ToolError(Exception):
    """What a tool raises to tell its agent, in the error's own words, what went wrong."""


def shown(text: str) -> str:
    """A result cut to what an agent gets, with a note when it is not all."""
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]}\n… (only the first {MAX_SHOWN:,} of {len(text):,} characters)"
