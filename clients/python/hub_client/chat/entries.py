"""What a chat shows of a session for good, apart from how."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Tone(Enum):
    QUIET = "quiet"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class UserSaid:
    """A user's message. `to` is the agent it was addressed to."""

    name: str
    text: str
    own: bool
    to: str | None


@dataclass(frozen=True, slots=True)
class AgentSaid:
    """An agent's finished message. `note` says what is wrong with it: empty for a complete one."""

    message: str
    agent: str
    display_name: str
    text: str
    reasoning: str
    note: str


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """An agent called a tool, with these arguments; `result` came of it."""

    agent: str
    display_name: str
    tool: str
    arguments: dict[str, object]
    result: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """The agents wait for an answer by `expires_at` (RFC 3339). `number` is how people here name the request."""

    number: int
    request: str
    kind: Literal["approval", "question", "retry"]
    agent: str
    display_name: str
    prompt: str
    tool: str
    arguments: dict[str, object]
    expires_at: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A line about the conversation."""

    text: str
    tone: Tone = Tone.QUIET


Entry = UserSaid | AgentSaid | ToolUsed | Asked | Notice
