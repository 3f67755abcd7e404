"""Closing a session for everybody: its runs are stopped, its members removed, its log stays unreachable."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.domain.ids import SessionId
from hub.domain.session import Member
from hub.protocol.durable import MemberRemovedData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl, Stops
from hub.store import log, members, sessions
from hub.store.database import Db


@dataclass(frozen=True, slots=True)
class Closed:
    """What is to be told when the transaction is committed."""

    session: SessionId
    events: Sequence[LoggedEvent]
    stops: Stops
    leaving: Sequence[Member]

    def tell(self, broadcast: Broadcast, control: RunControl) -> None:
        """Tell everybody."""
        broadcast.events(self.events)
        control.announce(self.stops)
        for member in self.leaving:
            broadcast.membership_changed(self.session, member.user)


async def close(db: Db, control: RunControl, session: SessionId, reason: str) -> Closed:
    """Close it, under its lock; `reason` is what its runs end for. Raises `NotFound` when somebody has deleted it."""
    stops = await control.end_from(db, session, 0, reason)
    leaving = await members.list(db, session)
    gone = [NewEvent(MemberRemovedData(user=m.user, name=m.name, role=m.role.value)) for m in leaving]
    events = await log.append(db, session, [*stops.events, *gone])
    await sessions.delete(db, session)
    return Closed(session, events, stops, leaving)
