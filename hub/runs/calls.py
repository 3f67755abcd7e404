"""Tool calls that a run carries out: each recorded before and after, none of them twice unless a person says so.

A turn that asks for such calls ends there, with a checkpoint; it goes on when all of them have results. Until then
nothing but rows holds it, so it may go on in any worker.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, assert_never

import orjson

from hub.domain.calls import Call, CallStatus, InputRequest, RequestKind
from hub.domain.ids import CallId, SessionId, UserId
from hub.domain.run import ClaimedRun, RunStatus
from hub.domain.team import TeamSpec
from hub.engine.base import AskedCall, CallResult, Outcome
from hub.engine.tools.outcome import ToolOutcome, shown
from hub.engine.tools.registry import Tools
from hub.engine.tools.tool import ToolContext, ToolKind
from hub.engine.watch import watch
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.live import AgentStatusData
from hub.protocol.results import session_updated
from hub.protocol.text import storable
from hub.runs import requests
from hub.runs.journal import Also, Journal
from hub.runs.lease import HeldLease
from hub.runs.turn import is_large, tool_called, tool_returned
from hub.store import calls, input_requests, runs, sessions, tool_results
from hub.store.database import Db, Store
from hub.store.log import LeaseLost

LETTING_GO_S = 1.0  # a stop is effective within 2 s, whatever a tool does about it

NOT_ALLOWED = "This call was not made: nobody has allowed it with these arguments."


class WhoApproves(TypedDict, total=False):
    """Those fields of a request."""

    approvers: int
    not_by: UserId | None


@dataclass(frozen=True, slots=True)
class Step:
    """Calls that a turn has come to, what is asked about them, and the events that tell it all."""

    calls: tuple[Call, ...]
    asked: tuple[InputRequest, ...]
    events: tuple[NewEvent, ...]


class Calls:
    """The calls of one run, in one worker's hands.

    `known` are those the newest checkpoint awaits. `tasks` owns the calls; `asker` is the user whose message
    asked for the run, and `user` the name of the account; `expires_s` is how long people have to answer.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        tools: Tools,
        held: HeldLease,
        run: ClaimedRun,
        team: TeamSpec,
        known: Sequence[Call],
        tasks: asyncio.TaskGroup,
        *,
        asker: UserId | None,
        user: str,
        expires_s: float,
    ) -> None:
        self._store = store
        self._journal = journal
        self._tools = tools
        self._held = held
        self._run = run
        self._team = team
        self._known = {call.slot: call for call in known}
        self._tasks = tasks
        self._asker = asker
        self._user = user
        self._expires_s = expires_s
        self.left = False
        """The run waits for a person now, or is paused: it is not this worker's any more."""

    @property
    def any(self) -> bool:
        """Whether the newest checkpoint awaits some."""
        return bool(self._known)

    @property
    def results(self) -> tuple[CallResult, ...]:
        """What the calls have come to, for the engine; those that were not made are missing."""
        results = list[CallResult]()
        for call in self._known.values():
            match call.status:
                case CallStatus.DONE:
                    results.append(CallResult(call.slot, call.tool, call.result or "", call.is_error))
                case CallStatus.CALLED:  # by a run that was stopped meanwhile
                    results.append(CallResult(call.slot, call.tool, requests.UNKNOWN_OUTCOME, is_error=True))
                case CallStatus.ASKED | CallStatus.READY:
                    pass
        return tuple(results)

    # ---- asking

    async def step(self, asked: Iterable[AskedCall], turn: int) -> Step:
        """What a turn that ends with calls leaves; `record` writes it, in the transaction of the turn's end.

        The first call that needs no person is told of, and counts as begun, with the end of the turn.
        """
        prompts = dict[str, tuple[RequestKind, str]]()
        made = list[Call]()
        for wanted in asked:
            call = Call(
                slot=wanted.call,
                id=CallId(wanted.call),
                run=self._run.lease.run,
                turn=turn,
                agent=wanted.agent.name,
                tool=wanted.name,
                arguments=wanted.arguments,
                status=CallStatus.READY,
            )
            arguments = orjson.loads(call.arguments)
            match self._of(call.agent).kind(call.tool, arguments):
                case ToolKind.APPROVAL:
                    call = replace(call, status=CallStatus.ASKED)
                    prompts[call.slot] = RequestKind.APPROVAL, requests.approval(call)
                case ToolKind.QUESTION:
                    words = await self._of(call.agent).call(call.tool, arguments, self._context(call))
                    if words.is_error:
                        call = replace(call, status=CallStatus.DONE, result=words.text, is_error=True)
                    else:
                        call = replace(call, status=CallStatus.ASKED)
                        prompts[call.slot] = RequestKind.QUESTION, words.text
                case ToolKind.EFFECT | ToolKind.SAFE | None:
                    pass
                case never:
                    assert_never(never)
            made.append(call)
        first = next((n for n, call in enumerate(made) if call.status is CallStatus.READY), None)
        begun = list[NewEvent]()
        if first is not None:
            made[first] = replace(made[first], status=CallStatus.CALLED)
            begun.append(self._called(made[first]))
        questions = await self._requests([(call, *prompts[call.slot]) for call in made if call.slot in prompts])
        return Step(tuple(made), questions, (*map(requests.requested, questions), *begun))

    async def record(self, db: Db, step: Step) -> Sequence[NewEvent]:
        """Write a step beside its checkpoint. When nothing can be called now, the run waits from here on; gives what is
        to be logged about that."""
        await calls.replace(db, self._run.lease.session, step.calls)
        await input_requests.insert(db, step.asked)
        self._known = {call.slot: call for call in step.calls}
        if step.asked and not any(call.status is CallStatus.CALLED for call in step.calls):
            return await self._leave(db)
        return ()

    async def ask_about_lost(self, started: NewEvent) -> bool:
        """After a takeover: ask about calls whose outcome is unknown, if there are any, and let the run wait."""
        lost = [call for call in self._known.values() if call.status is CallStatus.CALLED]
        if not lost:
            return False
        questions = await self._requests([(call, RequestKind.RETRY, requests.retry(call)) for call in lost])

        async def write(db: Db, _: list[LoggedEvent]) -> Sequence[NewEvent]:
            await input_requests.insert(db, questions)
            for call in lost:
                await calls.ask(db, call.slot)
            return await self._leave(db)

        await self._journal.append([started, *map(requests.requested, questions)], write)
        self._known |= {call.slot: replace(call, status=CallStatus.ASKED) for call in lost}
        return True

    def forget(self) -> None:
        """A checkpoint holds all results now."""
        self._known = {}

    # ---- carrying out

    async def carry_out(self) -> tuple[CallResult, ...] | None:
        """Make what may be made, one after the other. None when the turn cannot go on now: the run was left to people
        or paused (`left`), or it is to stop."""
        current = self._next(CallStatus.CALLED)
        while not self.left and not self._held.stop.is_set():
            if current is None and (current := self._next(CallStatus.READY)) is not None:
                await self._journal.append([self._called(current)], self._begin(current))
            if current is not None:
                outcome = await self._make(current)
                if outcome is None:
                    return None
                current = await self._finish(current, outcome)
            elif self._next(CallStatus.ASKED) is None:
                return self.results
            else:
                await self._look_again()
        return None

    async def _finish(self, call: Call, outcome: ToolOutcome) -> Call | None:
        """Record an outcome, and begin the next call with it."""
        whole = storable(outcome.text)
        result = shown(whole)
        returned = tool_returned(call.id, call.tool, whole, is_error=outcome.is_error)
        following = self._next(CallStatus.READY)
        events = [NewEvent(returned, self._run.lease.run)]
        if following is not None:
            events.append(self._called(following))

        async def write(db: Db, logged: list[LoggedEvent]) -> Sequence[NewEvent]:
            await calls.finish(db, call.slot, result, is_error=outcome.is_error)
            if is_large(whole):
                await tool_results.keep(db, self._run.lease, call.id, call.tool, whole)
            return await self._begin(following)(db, logged) if following is not None else ()

        await self._journal.append(events, write)
        self._known[call.slot] = replace(call, status=CallStatus.DONE, result=result, is_error=outcome.is_error)
        return following

    def _begin(self, call: Call) -> Also:
        async def write(db: Db, _: list[LoggedEvent]) -> Sequence[NewEvent]:
            await calls.begin(db, call.slot)
            self._known[call.slot] = replace(call, status=CallStatus.CALLED)
            return ()

        return write

    async def _make(self, call: Call) -> ToolOutcome | None:
        """Call the tool; None when the run was stopped meanwhile.

        Raises `LeaseLost` when recording that it is called took so long, or this worker stood still so long since, that
        another one may have the run.
        """
        self._journal.held.check()
        tools = self._of(call.agent)
        arguments = orjson.loads(call.arguments)
        needed = call.allowed_sha256 is not None or tools.kind(call.tool, arguments) is ToolKind.APPROVAL
        if needed and call.allowed_sha256 != requests.digest(call.arguments):
            return ToolOutcome(NOT_ALLOWED, is_error=True)
        self._journal.live(AgentStatusData(agent=call.agent, status="calling"))
        making = tools.call(call.tool, arguments, self._context(call))
        work = self._tasks.create_task(making, name=f"call {call.id}")
        try:
            early = await watch(work, self._held.stop, self._team.turn_timeout_s)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=LETTING_GO_S)  # who shrugs that off is left behind
        match early:
            case None:
                return work.result()
            case Outcome.TIMEOUT:
                return ToolOutcome(f"{call.tool} did not finish in {self._team.turn_timeout_s:g} s", is_error=True)
            case _:
                return None

    async def _look_again(self) -> None:
        """People may have answered while calls were made; if something is still open, the run waits."""

        async def write(db: Db, _: list[LoggedEvent]) -> Sequence[NewEvent]:
            if await sessions.lock(db, self._run.lease.session) is None:
                raise LeaseLost
            self._known = {call.slot: call for call in await calls.of_session(db, self._run.lease.session)}
            if self._next(CallStatus.ASKED) is not None and self._next(CallStatus.READY) is None:
                return await self._leave(db)
            return ()

        await self._journal.append([], write)

    async def _leave(self, db: Db) -> Sequence[NewEvent]:
        status, stop_reason = await runs.wait(db, self._run.lease)
        if status is RunStatus.RUNNING:
            self._held.stop_reason = stop_reason
            self._held.stop.set()
            return ()
        self.left = True
        return await paused(db, self._run.lease.session) if status is RunStatus.PAUSED else ()

    # ---- pieces

    def _next(self, status: CallStatus) -> Call | None:
        return next((call for call in self._known.values() if call.status is status), None)

    def _of(self, agent: str) -> Tools:
        """The tools this agent may have called, as the team is now."""
        names = next((spec.tools for spec in self._team.agents if spec.name == agent), ())
        return self._tools.only(names).tightened(self._team.approvals)

    def _context(self, call: Call) -> ToolContext:
        lease = self._run.lease
        return ToolContext(lease.session, lease.run, self._team.name, call.agent, self._user, call.id)

    def _called(self, call: Call) -> NewEvent:
        return NewEvent(tool_called(call.id, call.agent, call.tool, call.arguments, call.turn), self._run.lease.run)

    async def _requests(self, asked: Sequence[tuple[Call, RequestKind, str]]) -> tuple[InputRequest, ...]:
        if not asked:
            return ()
        async with self._store.statements() as db:
            now = await input_requests.now(db)
        return tuple(
            replace(
                requests.request(kind, prompt, call, self._run.lease, now, self._time_for(call)),
                **self._who_approves(kind, call),
            )
            for call, kind, prompt in asked
        )

    def _time_for(self, call: Call) -> float:
        """Seconds to answer; a person's place in the team may have its own."""
        agent = self._team.agent(call.agent)
        own = agent.seat.timeout_s if agent is not None and agent.seat is not None else None
        return own or self._expires_s

    def _who_approves(self, kind: RequestKind, call: Call) -> WhoApproves:
        """As the tool has it, for this call; kept with the request, whatever becomes of the tool."""
        tool = self._of(call.agent).get(call.tool)
        if kind is RequestKind.QUESTION or tool is None:
            return {}
        if tool.kind_of_call(orjson.loads(call.arguments)) is not ToolKind.APPROVAL:  # a retry of an effect
            return {}
        return {"approvers": tool.approvers, "not_by": self._asker if tool.by_others else None}


async def paused(db: Db, session: SessionId) -> Sequence[NewEvent]:
    """What is to be told, as the last event of the transaction, when a run was paused."""
    found = await sessions.get(db, session)
    return [NewEvent(session_updated(found, found.last_seq + 1))] if found is not None else []
