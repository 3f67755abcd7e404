"""What somebody at the chat may want: the closed union of what a typed line can mean."""

from dataclasses import dataclass
from typing import Literal

from hub.domain.session import OnBusy


@dataclass(frozen=True, slots=True)
class Say:
    """Send this; `to` is the agent named with @ in front. `on_busy` is what it does to agents at work: None as the
    session has it."""

    text: str
    to: str | None = None
    on_busy: OnBusy | None = None


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class New:
    team: str
    title: str


@dataclass(frozen=True, slots=True)
class ListSessions:
    pass


@dataclass(frozen=True, slots=True)
class Open:
    """`which` is a number of the last list, an id or its beginning, or a part of the title; empty: the one before."""

    which: str


@dataclass(frozen=True, slots=True)
class ListTeams:
    pass


@dataclass(frozen=True, slots=True)
class Agents:
    pass


@dataclass(frozen=True, slots=True)
class Rename:
    title: str


@dataclass(frozen=True, slots=True)
class Invite:
    user: str
    role: str


@dataclass(frozen=True, slots=True)
class InviteByLink:
    """`uses` is how many people the link lets in."""

    role: str
    uses: int


@dataclass(frozen=True, slots=True)
class AcceptInvite:
    """`link` is what somebody was sent: the link, or its token alone."""

    link: str


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Pause:
    pass


@dataclass(frozen=True, slots=True)
class Resume:
    pass


@dataclass(frozen=True, slots=True)
class Edit:
    """Another text for one's last message; empty: put the present one into the input line."""

    text: str


@dataclass(frozen=True, slots=True)
class Retry:
    pass


@dataclass(frozen=True, slots=True)
class Fork:
    """`at` is the seq up to which the new session has what was said; None: all of it."""

    at: int | None


@dataclass(frozen=True, slots=True)
class Respond:
    """An answer to what the agents ask. `number` is the request's; None: the only one that is open."""

    verb: Literal["approve", "reject", "answer"]
    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Search:
    words: str


@dataclass(frozen=True, slots=True)
class Attach:
    path: str


@dataclass(frozen=True, slots=True)
class Export:
    path: str


@dataclass(frozen=True, slots=True)
class Exit:
    pass


@dataclass(frozen=True, slots=True)
class Misread:
    """A line that means nothing; `why` says what to do."""

    why: str


Intent = (
    Say
    | Help
    | New
    | ListSessions
    | Open
    | Search
    | Attach
    | ListTeams
    | Agents
    | Rename
    | Invite
    | InviteByLink
    | AcceptInvite
    | Stop
    | Pause
    | Resume
    | Edit
    | Retry
    | Fork
    | Respond
    | Export
    | Exit
    | Misread
)
