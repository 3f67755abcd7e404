"""What events, results of commands and answers of the REST edge are made of.

Clients ignore fields that they do not know.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hub.domain.run import Usage


def _absent(value: object) -> bool:
    return value is None


Optional = Field(default=None, exclude_if=_absent)  # a `?` field of the protocol: left out instead of null


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class UserAuthor(Wire):
    kind: Literal["user"] = "user"
    id: str
    name: str


class AgentAuthor(Wire):
    kind: Literal["agent"] = "agent"
    name: str
    display_name: str


class UsageData(Wire):
    """`cost` is in the operator's currency, and there only where a price is known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Annotated[float | None, Optional] = None

    @classmethod
    def of(cls, usage: Usage) -> "UsageData":
        """The wire's form of what was used."""
        cost = usage.cost_micros / 1_000_000 if usage.cost_micros else None
        return cls(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, cost=cost)


class ErrorData(Wire):
    code: str
    message: str


class Person(Wire):
    id: str
    name: str


class ForkedFromData(Wire):
    """The session a conversation was copied from, and the place in its log."""

    session: str
    at_seq: int


class SessionData(Wire):
    """A session; `role` is the viewer's, and null in events, which are the same for everybody.

    `preview` is there in lists, of sessions without a title: how the first message begins.
    """

    id: str
    title: str
    team: str
    role: Literal["owner", "editor", "approver", "viewer"] | None
    status: Literal["idle", "running", "waiting", "paused"]
    last_seq: int
    on_busy: Literal["queue", "reject", "interrupt", "steer"]
    created_at: str
    updated_at: str
    metadata: dict[str, Any]
    organisation: Annotated[str | None, Optional] = None
    forked_from: Annotated[ForkedFromData | None, Optional] = None
    preview: Annotated[str | None, Optional] = None
