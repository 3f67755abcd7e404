"""What suspended people have asked for comes to an end: nobody is these people any more."""

from hub.domain.errors import NotFound
from hub.domain.ids import RunId, SessionId, UserId
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl
from hub.sessions.backlog import Backlog
from hub.store import log, runs, suspensions
from hub.store.database import Store

REASON = "user suspended"


class Suspension:
    """Stops the runs of suspended people. `backlog` is told of whom; what comes at the last moment, or was asked for at
    a worker that was lost, is found within seconds."""

    def __init__(self, store: Store, broadcast: Broadcast, control: RunControl) -> None:
        self._store = store
        self._broadcast = broadcast
        self._control = control
        self.backlog = Backlog[UserId]("suspension", "user", self.stop_runs, self._left)

    async def stop_runs(self, user: UserId) -> None:
        """Stop what this user has asked for, if they are suspended. Raises `Unavailable`; it may be begun anew at any
        time."""
        while True:
            async with self._store.statements() as db:
                found = await suspensions.runs(db, user)
            for session, run in found:
                await self._stop(session, run)
            if not found:
                return

    async def _left(self, age_s: float) -> list[UserId]:
        async with self._store.statements() as db:
            return await suspensions.pending(db, age_s=age_s)

    async def _stop(self, session: SessionId, id_: RunId) -> None:
        try:
            async with self._store.transaction(lock=session) as db:
                run = await runs.get(db, id_)
                if run is None or run.status.is_terminal:
                    return
                stops = await self._control.stop(db, run, REASON)
                events = await log.append(db, session, stops.events) if stops.events else []
        except NotFound:  # the session was deleted
            return
        self._broadcast.events(events)
        self._control.announce(stops)
