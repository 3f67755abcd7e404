"""What the workers of one hub tell each other.

Everything here may be lost: events are healed from the log, queued runs are found by polling, stops and changes of
membership are read from PostgreSQL again within seconds. It only makes them fast.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hub.domain.ids import RunId, SessionId, UserId
from hub.protocol.frames import LoggedEvent
from hub.relay import envelope, keys
from hub.relay.pipeline import Still
from hub.relay.publisher import Publisher


@dataclass(frozen=True, slots=True)
class RunQueued:
    """Some session has a run to claim."""


@dataclass(frozen=True, slots=True)
class StopRun:
    """Whoever executes this run should look whether it is to stop."""

    run: RunId


@dataclass(frozen=True, slots=True)
class MembershipChanged:
    """What this user may do in this session has changed."""

    session: SessionId
    user: UserId


@dataclass(frozen=True, slots=True)
class CredentialsChanged:
    """Credentials of this user may have been revoked."""

    user: UserId


@dataclass(frozen=True, slots=True)
class TeamsChanged:
    """A team was imported or archived."""


Notice = RunQueued | StopRun | MembershipChanged | CredentialsChanged | TeamsChanged


def parse_notice(payload: bytes) -> Notice | None:
    """The notice in a payload; None for what this version does not know (another version, or junk)."""
    match payload.decode("ascii", "replace").split(" "):
        case ["queued"]:
            return RunQueued()
        case ["stop", run]:
            return StopRun(RunId(run))
        case ["member", session, user]:
            return MembershipChanged(SessionId(session), UserId(user))
        case ["credentials", user]:
            return CredentialsChanged(UserId(user))
        case ["teams"]:
            return TeamsChanged()
        case _:
            return None


class Broadcast:
    """Hands committed events to everybody who watches, and notices to every worker. Never waits, never raises."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.persisted = 0  # events that this worker has committed

    def events(self, events: Iterable[LoggedEvent], still: Still | None = None) -> None:
        """Publish events that have been committed, in the order of their seq; not those that leave when that is not
        wanted any more (`still`)."""
        for event in events:
            self.persisted += 1
            self._publisher.publish(event.session, envelope.durable(event), still)

    def live(self, session: SessionId, frame: bytes, still: Still | None = None) -> None:
        """Publish a live event, as the finished frame, if that is `still` wanted when it leaves."""
        self._publisher.publish(session, envelope.live(session, frame), still)

    def run_queued(self) -> None:
        self._notify("queued")

    def stop_run(self, run: RunId) -> None:
        self._notify(f"stop {run}")

    def membership_changed(self, session: SessionId, user: UserId) -> None:
        self._notify(f"member {session} {user}")

    def credentials_changed(self, user: UserId) -> None:
        self._notify(f"credentials {user}")

    def teams_changed(self) -> None:
        self._notify("teams")

    def _notify(self, payload: str) -> None:
        self._publisher.notify(keys.NOTICES, payload.encode())
