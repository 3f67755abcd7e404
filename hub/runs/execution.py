"""One run in one worker's hands: load, do turns, checkpoint after each, end."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from hub.domain.budget import Limit
from hub.domain.errors import NotFound, Unavailable
from hub.domain.run import ClaimedRun, MessageStatus, ModelCall, TurnBooks
from hub.domain.team import TAKE_TURN, TeamSpec
from hub.engine.allowance import Allowance
from hub.engine.base import Outcome, TurnResult
from hub.engine.catalog import Catalog
from hub.engine.tools.tool import ToolKind
from hub.protocol.durable import RunStartedData
from hub.protocol.frames import NewEvent
from hub.relay.deltas import DeltaPublisher
from hub.relay.open_messages import OpenMessages
from hub.runs.budgeting import RunBudgets
from hub.runs.calls import Calls, Step
from hub.runs.closing import Closing
from hub.runs.ending import (
    End,
    budget_event,
    end_of,
    failed,
    finished_event,
    over_budget,
    stopped,
)
from hub.runs.journal import Journal
from hub.runs.lease import HeldLease
from hub.runs.loading import Loaded, load, turn_request
from hub.runs.record import RunRecord
from hub.runs.teams import ImportedTeams
from hub.runs.turn import Turn
from hub.store import messages
from hub.store.closing import ClosedTurn, WentOn
from hub.store.database import Store
from hub.store.log import LeaseLost
from hub.store.pending import Given, PendingInput


@dataclass(slots=True)
class _Position:
    """Where a run is between two turns: `turns` are done, `said` are the messages of its agents. The next turn begins
    with `state` and is `given` what it does not hold; it `goes_on` where the last one asked for calls, and is
    `announced` already."""

    state: str | None
    turns: int
    said: int
    given: tuple[PendingInput, ...]
    goes_on: bool
    announced: bool


class Execution:
    """Executes a claimed run until it ends, is handed over between turns, or its lease is lost."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        teams: ImportedTeams,
        deltas: DeltaPublisher,
        open_messages: OpenMessages,
        *,
        run: ClaimedRun,
        begins: Given | None,
        held: HeldLease,
        journal: Journal,
        node: str,
        tasks: asyncio.TaskGroup,
        input_expires_s: float,
        budgets: Sequence[Limit],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._teams = teams
        self._deltas = deltas
        self._open_messages = open_messages
        self._run = run
        self._begins = begins
        self._held = held
        self._journal = journal
        self._node = node
        self._tasks = tasks
        self._input_expires_s = input_expires_s
        self._limits = budgets
        self._record = RunRecord(store, journal, deltas, run)
        self._model = ""
        self._handover = False
        self.gave_up = False  # the database did not take what there was to write: the next try had better wait
        self._log = structlog.get_logger("hub.runs").bind(run=run.lease.run, session=run.lease.session)

    def hand_over(self) -> None:
        """Give the run to another worker after the present turn."""
        self._handover = True

    async def release(self) -> None:
        """Give the lease of what was cut off back, for the next holder to go on from the last checkpoint."""
        await self._record.release(clean=False)

    async def run(self) -> None:
        """Do the work. Never raises but for cancellation: whatever happens is recorded, or left to the next holder."""
        try:
            await self._execute()
        except LeaseLost:
            self._held.lose()  # also when the loss was seen here before the keeper looked
            self._log.info("run_abandoned", reason="lease lost")
        except NotFound:
            self._log.info("run_abandoned", reason="session deleted")
        except Unavailable as e:
            # The outcome of the last write is unknown: only a new attempt, from the last checkpoint, is safe.
            self._log.warning("run_abandoned", reason=e.message)
            self.gave_up = True
            await self._record.release(clean=False)
        except Exception:  # noqa: BLE001 - boundary: a fault of ours ends the run, not the worker
            self._log.exception("run_crashed")
            await self._record.crash()

    async def _execute(self) -> None:
        loaded = await load(self._store, self._open_messages, self._run, self._begins)
        team = await self._teams.of_run(self._run)
        begins = RunStartedData(
            team=self._run.team, attempt=self._run.attempt, node=self._node, team_version=self._run.team_version
        )
        started = NewEvent(begins, self._run.lease.run)
        if team is None:
            await self._record.begin(loaded, started)
            await self._record.finish(failed("team_unknown", "this hub does not have the team any more"))
            return
        calls = Calls(
            self._store,
            self._journal,
            self._catalog.tools,
            self._held,
            self._run,
            team,
            loaded.calls,
            self._tasks,
            asker=loaded.asker,
            user=loaded.user,
            expires_s=self._input_expires_s,
        )
        if self._run.stop_reason is not None:
            self._held.stop_reason = self._run.stop_reason
            self._held.stop.set()
        if not (loaded.goes_on and await calls.ask_about_lost(started)):
            await self._record.begin(loaded, started)
            unknown = [name for name in loaded.open_calls if self._catalog.tools.kind(name) is not ToolKind.SAFE]
            if unknown:
                names = ", ".join(sorted(set(unknown)))
                lost = failed("tool_outcome_unknown", f"a worker was lost while these tools were called: {names}")
                await self._record.finish(lost)
                return
        await self._turns(team, loaded, calls)

    async def _turns(self, team: TeamSpec, loaded: Loaded, calls: Calls) -> None:
        budgets = RunBudgets(self._store, self._run, team, self._limits)
        self._model = self._catalog.alias(team)
        said = await self._said() if team.max_messages is not None else 0
        at = _Position(loaded.state, self._run.turn, said, loaded.pending, loaded.goes_on, loaded.announced)
        while (allowance := await self._allowance(at, calls, budgets)) is not None:
            turn, result, books = await self._turn(team, loaded, at, calls, budgets, allowance)
            self._record.usage += result.usage
            at.turns += result.outcome in (Outcome.NEXT, Outcome.DONE)
            at.said += turn.messages
            last = _last(team, at.turns, at.said)
            end = end_of(result, self._held.stop_reason, allowance, books.duration_ms, last=last)
            step = await calls.step(result.calls, at.turns) if result.outcome is Outcome.CALLS else None
            went_on = await self._close_turn(turn, result, at, end, calls, step, books)
            if went_on is None or went_on.paused:
                return
            at.given, at.state, budgets.are_set = went_on.pending, result.state, went_on.budgeted
            at.goes_on = at.announced = step is not None
            if self._handover and not at.goes_on:
                await self._record.release(clean=True)
                return

    async def _allowance(self, at: _Position, calls: Calls, budgets: RunBudgets) -> Allowance | None:
        """What the next turn may spend, once the calls that it goes on after are carried out. None: there is no next
        turn, and the run is where it should be then."""
        if at.goes_on:
            if await calls.carry_out() is None:
                if not calls.left:
                    await self._record.finish(stopped(self._held.stop_reason), turns=at.turns)
                return None
            if self._handover:
                await self._record.release(clean=True)
                return None
            at.given = ()
        allowance = await budgets.allowance()
        if (reached := allowance.budgets.reached()) is not None:
            await self._record.finish(over_budget(), [budget_event(self._run.lease.run, reached)], turns=at.turns)
            return None
        return allowance

    async def _turn(
        self,
        team: TeamSpec,
        loaded: Loaded,
        at: _Position,
        calls: Calls,
        budgets: RunBudgets,
        allowance: Allowance,
    ) -> tuple[Turn, TurnResult, TurnBooks]:
        """Have the engine do a turn. Raises what has kept its events from being written, after its cost was booked."""
        turn = Turn(
            self._journal,
            self._deltas,
            turn=at.turns,
            attempt=self._run.attempt,
            announced=at.announced,
            steering=[message.message for message in at.given if message.steering],
        )
        request = turn_request(
            self._run,
            team,
            loaded,
            allowance,
            turn=at.turns,
            state=at.state,
            given=at.given,
            results=calls.results,
            goes_on=at.goes_on,
        )
        began = time.monotonic()
        result = await self._catalog.engine(team).turn(request, turn.emit, self._held.stop)
        books = self._books(turn, result, began)
        if turn.fault is not None or budgets.fault is not None or not self._held.is_valid:
            await self._record.book(at.turns, books)
            raise turn.fault or budgets.fault or LeaseLost
        return turn, result, books

    async def _said(self) -> int:
        """How many messages the agents have said in this run before this worker had it."""
        if self._run.attempt == 1:
            return 0
        lease = self._run.lease
        async with self._store.statements() as db:
            return await messages.of_run(db, lease.session, lease.run, after=self._run.input_seq)

    async def _close_turn(
        self,
        turn: Turn,
        result: TurnResult,
        at: _Position,
        end: End | None,
        calls: Calls,
        step: Step | None,
        books: TurnBooks,
    ) -> WentOn | None:
        """Commit the turn, or its part up to the calls of `step`, with its checkpoint. None: the run ends with it."""
        lease = self._run.lease
        closed = ClosedTurn(
            lease=lease,
            turns=at.turns,
            seq=self._journal.seq,
            engine=self._run.team,
            state=result.state,
            events=(),
            said=(),
            taken_in=[*(message.message for message in at.given), *turn.recorded],
            books=books,
            whole=step is None,
            calls=calls.any or step is not None,
        )
        closing = Closing(closed, self._record.usage, end, calls, step)
        events = list(step.events) if step is not None else []
        if end is not None and end.reached is not None:
            events.append(budget_event(lease.run, end.reached))
        if end is not None:
            events.append(finished_event(self._run, end, turns=at.turns, usage=self._record.usage))
        status = end.message_status if end is not None else MessageStatus.COMPLETE
        await turn.end(status, events, closing)
        if step is None and result.state is not None:
            calls.forget()
        return closing.went_on

    def _books(self, turn: Turn, result: TurnResult, began: float) -> TurnBooks:
        """What a turn that began at this monotonic time is put down as."""
        return TurnBooks(
            result.model_calls or [ModelCall(self._model, None, result.usage)],
            turns=int(result.outcome in (Outcome.NEXT, Outcome.DONE)),
            tool_calls=turn.tool_calls + sum(call.name != TAKE_TURN for call in result.calls),
            duration_ms=round((time.monotonic() - began) * 1000),
        )


def _last(team: TeamSpec, turns: int, said: int) -> str | None:
    """Why a run that has had so many turns and messages has no further turn, if it has none."""
    if turns >= team.max_turns:
        return "max_turns"
    return "max_messages" if team.max_messages is not None and said >= team.max_messages else None
