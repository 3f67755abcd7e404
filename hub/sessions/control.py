"""Looking at runs, stopping and pausing them."""

from collections.abc import Awaitable, Callable

from hub.auth.policy import Action, require_scope
from hub.domain.errors import NotFound
from hub.domain.ids import RunId, parse_id
from hub.domain.principal import Principal
from hub.domain.run import Run, RunStatus
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.results import RunCommandResult, session_updated
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl, Stops
from hub.sessions.access import reach, session_id
from hub.store import log, runs, sessions
from hub.store.database import Db, Store


class Control:
    """What callers may do to runs."""

    def __init__(self, store: Store, broadcast: Broadcast, control: RunControl) -> None:
        self._store = store
        self._broadcast = broadcast
        self._control = control

    async def get(self, principal: Principal, run: str) -> Run:
        """The run, for whoever may read its session."""
        return await self._reach_run(principal, run, Action.READ)

    async def cancel(self, principal: Principal, session: str | None, run: str | None = None) -> RunCommandResult:
        """Stop a run: at once when nobody works on it (it is queued, waits or is paused), else within 2 s (status
        `cancelling`).

        Without `run`: the live run of the session, else the next in its queue. A run that has ended keeps its status.
        """
        if session is None:
            session = (await self._reach_run(principal, run or "", Action.CANCEL)).session
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.CANCEL, lock=True)
            target = await runs.get(db, _run_id(run)) if run is not None else None
            if run is None:
                target = next(iter(await runs.open_runs(db, id_)), None)
            if target is None or target.session != id_:
                raise NotFound("nothing is running" if run is None else "no such run")
            if target.status.is_terminal:
                return RunCommandResult(run=target.id, status=target.status.value)
            stops: Stops = await self._control.stop(db, target, "cancelled")
            events = await log.append(db, id_, stops.events) if stops.events else []
        self._broadcast.events(events)
        self._control.announce(stops)
        status = "cancelled" if stops.events else "cancelling"
        return RunCommandResult(run=target.id, status=status)

    async def _reach_run(self, principal: Principal, run: str, action: Action) -> Run:
        """The run, if the caller may do this in its session: a run elsewhere is as unknown as one that never was."""
        require_scope(principal, action)
        async with self._store.reads(principal) as db:
            found = await runs.get(db, _run_id(run))
            if found is None:
                raise NotFound("no such run")
            try:
                await reach(db, principal, found.session, action)
            except NotFound:
                raise NotFound("no such run") from None
            return found

    async def pause(self, principal: Principal, session: str) -> RunCommandResult:
        """Pause the session's run: at once when nobody works on it, else after its present turn (status `pausing`).

        Raises `NotFound` when there is none.
        """
        run, status = await self._change(principal, session, Action.PAUSE, runs.pause)
        return RunCommandResult(run=run, status="pausing" if status is RunStatus.RUNNING else status.value)

    async def resume(self, principal: Principal, session: str) -> RunCommandResult:
        """Let the session's paused run go on, or take a pause back that has not begun.

        Raises `NotFound` when there is no run.
        """
        run, status = await self._change(principal, session, Action.RESUME, runs.resume)
        self._control.wake()
        return RunCommandResult(run=run, status=status.value)

    async def _change(
        self,
        principal: Principal,
        session: str,
        action: Action,
        change: Callable[[Db, RunId], Awaitable[RunStatus | None]],
    ) -> tuple[RunId, RunStatus]:
        """Apply `change` to the session's live run, else the next in its queue; everybody is told when the session is
        paused now, or not any more."""
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, action, lock=True)
            run = next(iter(await runs.open_runs(db, id_)), None)
            status = await change(db, run.id) if run is not None else None
            if run is None or status is None:
                raise NotFound("nothing is running")
            events = list[LoggedEvent]()
            if (run.status is RunStatus.PAUSED) is not (status is RunStatus.PAUSED):
                after = await sessions.get(db, id_)
                assert after is not None, "its row is locked"
                events = await log.append(db, id_, [NewEvent(session_updated(after, after.last_seq + 1))])
        self._broadcast.events(events)
        return run.id, status


def _run_id(text: str) -> RunId:
    parsed = parse_id(text)
    if parsed is None:
        raise NotFound("no such run")
    return RunId(parsed)
