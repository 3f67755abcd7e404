"""One run in one worker's hands: load, do turns, checkpoint after each, end."""

from collections.abc import Sequence

import structlog

from hub.domain.errors import HubError, NotFound, Unavailable
from hub.domain.run import ClaimedRun, MessageStatus
from hub.domain.team import TeamSpec
from hub.engine.base import Outcome, TurnRequest, TurnResult
from hub.engine.catalog import Catalog
from hub.protocol.events import RunStartedData, TurnSupersededData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.relay.deltas import DeltaPublisher
from hub.relay.open_messages import OpenMessages
from hub.runs.ending import End, end_of, failed, finished_event, finished_run
from hub.runs.journal import Journal
from hub.runs.lease import HeldLease
from hub.runs.loading import Loaded, as_input, load
from hub.runs.steering import follow_up
from hub.runs.turn import Turn
from hub.store import closing, messages, pending, runs, steering
from hub.store.closing import ClosedTurn
from hub.store.database import Db, Store
from hub.store.log import LeaseLost
from hub.store.messages import AgentMessage
from hub.store.pending import PendingInput


class Execution:
    """Executes a claimed run until it ends, is handed over between turns, or its lease is lost."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        deltas: DeltaPublisher,
        open_messages: OpenMessages,
        *,
        run: ClaimedRun,
        held: HeldLease,
        journal: Journal,
        node: str,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._deltas = deltas
        self._open_messages = open_messages
        self._run = run
        self._held = held
        self._journal = journal
        self._node = node
        self._usage = run.usage
        self._model = ""
        self._handover = False
        self._log = structlog.get_logger("hub.runs").bind(run=run.lease.run, session=run.lease.session)

    def hand_over(self) -> None:
        """Give the run to another worker after the present turn."""
        self._handover = True

    async def run(self) -> None:
        """Do the work. Never raises but for cancellation: whatever happens is recorded, or left to the next holder."""
        try:
            await self._execute()
        except (LeaseLost, NotFound):
            self._log.info("run_abandoned", reason="lease lost or session deleted")
        except Unavailable as e:
            # The outcome of the last write is unknown: only a new attempt, from the last checkpoint, is safe.
            self._log.warning("run_abandoned", reason=e.message)
            await self.release()
        except Exception:  # noqa: BLE001 - boundary: a fault of ours ends the run, not the worker
            self._log.exception("run_crashed")
            await self._crash()

    async def _execute(self) -> None:
        loaded = await load(self._store, self._open_messages, self._run)
        team = self._catalog.get(self._run.team)
        await self._begin(loaded)
        if team is None:
            await self._finish_without_turn("team_unknown", "this hub does not have the team any more")
            return
        if loaded.unfinished is not None and loaded.unfinished.open_calls:
            names = ", ".join(sorted(set(loaded.unfinished.open_calls)))
            await self._finish_without_turn(
                "tool_outcome_unknown", f"a worker was lost while these tools were called: {names}"
            )
            return
        if self._run.stop_reason is not None:
            self._held.stop_reason = self._run.stop_reason
            self._held.stop.set()
        await self._turns(team, loaded)

    async def _turns(self, team: TeamSpec, loaded: Loaded) -> None:
        engine = self._catalog.engine(team)
        self._model = self._catalog.model_name(team)
        state, number, given = loaded.state, self._run.turn, loaded.pending
        while True:
            turn = Turn(
                self._journal,
                self._deltas,
                turn=number,
                attempt=self._run.attempt,
                steering=[message.message for message in given if message.steering],
            )
            request = TurnRequest(
                session=self._run.lease.session,
                run=self._run.lease.run,
                team=team,
                turn=number,
                state=state,
                inputs=tuple(as_input(message, team) for message in given),
                prompt=loaded.prompt,
                to=self._run.to,
                timeout_s=team.turn_timeout_s,
            )
            result = await engine.turn(request, turn.emit, self._held.stop)
            if turn.fault is not None:
                raise turn.fault
            self._journal.check()
            self._usage += result.usage
            number += result.outcome in (Outcome.NEXT, Outcome.DONE)
            end = end_of(result, self._held.stop_reason, last=number >= team.max_turns)
            given = await self._close_turn(turn, result, given, number, end)
            if end is not None:
                return
            state = result.state
            if self._handover:
                await self.release()
                return

    async def _begin(self, loaded: Loaded) -> None:
        """Say that the run starts here; what an earlier attempt showed of the turn in flight is void.

        A fresh run says so together with its first event: that saves its first token a commit.
        """
        lease = self._run.lease
        started = NewEvent(RunStartedData(team=self._run.team, attempt=self._run.attempt, node=self._node), lease.run)
        if loaded.unfinished is None:
            self._journal.hold_back(started)
            return
        async with self._store.statements() as db:
            completed = await pending.of_turn(db, lease.session, lease.run, loaded.unfinished.turn)
        void = TurnSupersededData(
            turn=loaded.unfinished.turn,
            attempt=loaded.unfinished.attempt,
            messages=list(dict.fromkeys([*completed, *loaded.voided])),
            reason="the worker that ran this turn was lost",
        )

        async def write(db: Db, logged: list[LoggedEvent]) -> Sequence[NewEvent]:
            await messages.void(db, lease.session, [(message, logged[0].seq) for message in completed])
            return ()

        await self._journal.append([NewEvent(void, lease.run), started], write)
        self._deltas.close(lease.session, loaded.voided)

    async def _close_turn(
        self, turn: Turn, result: TurnResult, given: tuple[PendingInput, ...], number: int, end: End | None
    ) -> tuple[PendingInput, ...]:
        """Commit the turn with its checkpoint; what the next turn is to be given."""
        lease = self._run.lease
        next_given: tuple[PendingInput, ...] = ()

        async def write(db: Db, said: list[AgentMessage], logged: list[LoggedEvent]) -> Sequence[NewEvent]:
            nonlocal next_given
            closed = ClosedTurn(
                lease=lease,
                turns=number,
                seq=logged[-1].seq if logged else self._journal.seq,
                engine=self._run.team,
                state=result.state,
                said=said,
                taken_in=[message.message for message in given] + turn.recorded,
                model=self._model,
                usage=result.usage,
            )
            if end is None:
                next_given = tuple(await closing.go_on(db, closed, self._usage))
                return ()
            left = await closing.finish(db, closed, finished_run(end, turns=number, usage=self._usage))
            return await follow_up(db, lease.session, lease.run, left)

        events = [finished_event(self._run, end, turns=number, usage=self._usage)] if end is not None else []
        status = end.message_status if end is not None else MessageStatus.COMPLETE
        await turn.end(status, events, write)
        return next_given

    async def _finish_without_turn(self, code: str, message: str) -> None:
        end, done, lease = failed(code, message), self._run.turn, self._run.lease

        async def write(db: Db, _: list[LoggedEvent]) -> Sequence[NewEvent]:
            await runs.finish(db, lease, finished_run(end, turns=done, usage=self._usage))
            return await follow_up(db, lease.session, lease.run, await steering.waiting(db, lease.session, lease.run))

        await self._journal.append([finished_event(self._run, end, turns=done, usage=self._usage)], write)

    async def _crash(self) -> None:
        try:
            await self._finish_without_turn("internal", "the hub failed to carry out this run")
        except (LeaseLost, HubError):
            self._log.warning("run_abandoned", reason="could not record the crash")

    async def release(self) -> None:
        """Give the lease back, for the next holder to go on from the last checkpoint."""
        try:
            async with self._store.statements() as db:
                await runs.release(db, self._run.lease)
        except Unavailable:
            self._log.warning("lease_left_to_expire")
