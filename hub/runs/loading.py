"""What a run needs to begin or go on, whoever had it before."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hub.domain.calls import Call, CallStatus
from hub.domain.errors import Unavailable
from hub.domain.ids import MessageId, UserId
from hub.domain.run import ClaimedRun
from hub.domain.team import TeamSpec
from hub.engine.allowance import Allowance
from hub.engine.attached import note
from hub.engine.base import NOT_PEOPLE, CallResult, Input, TurnRequest
from hub.relay.open_messages import OpenMessage, OpenMessages
from hub.store import calls, messages, pending, turns
from hub.store.database import Store
from hub.store.pending import Given, PendingInput

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`state` is the team's, `pending` what it has not taken in yet, `calls` those whose results it awaits. `asker` is
    the user whose message asked for the run, `user` the name of the account.

    `goes_on`: they are calls of the turn that is next, which goes on after them; `announced`: everybody knows of its
    beginning, and nothing that was shown since is void. `unfinished` is the turn an earlier
    attempt was cut off in, `completed` what was said in it, which counts no more, and `voided` the messages that were
    open then; `open_calls` are the tools that attempt had called without a record of the result. `kept_open` is what
    Redis still has of the run: also messages that were finished while it was away.
    """

    state: str | None
    prompt: str
    asker: UserId | None
    user: str
    pending: tuple[PendingInput, ...]
    calls: tuple[Call, ...]
    goes_on: bool
    announced: bool
    unfinished: turns.UnfinishedTurn | None
    completed: tuple[MessageId, ...]
    voided: tuple[MessageId, ...]
    kept_open: tuple[MessageId, ...]

    @property
    def open_calls(self) -> tuple[str, ...]:
        return self.unfinished.open_calls if self.unfinished is not None and not self.goes_on else ()


async def load(store: Store, open_messages: OpenMessages, run: ClaimedRun, begins: Given | None) -> Loaded:
    """Read it from the store, but for what it `begins` with if that was read already; what was shown and not finished,
    from Redis, as far as that remembers."""
    lease = run.lease
    if begins is None:
        async with store.statements() as db:
            begins = (await pending.given(db, [(lease, run.input_message)]))[lease]
    known = list[Call]()
    begun = None
    if begins.awaits_calls or run.attempt > 1:
        async with store.statements() as db:
            if begins.awaits_calls:
                known = await calls.of_session(db, lease.session)
            if run.attempt > 1:
                begun = await turns.unfinished(db, lease.session, lease.run, run.turn)
    goes_on = any(call.run == lease.run and call.turn == run.turn for call in known)
    unfinished = begun if _may_have_shown(run, known, goes_on=goes_on) else None
    completed = list[MessageId]()
    if unfinished is not None:
        async with store.statements() as db:
            completed = await pending.of_turn(db, lease.session, lease.run, unfinished.turn)
    shown = await _shown(open_messages, run) if unfinished is not None else []
    finished: set[MessageId] = set()
    if shown:
        async with store.statements() as db:
            finished = await messages.recorded(db, lease.session, [message.message for message in shown])
    return Loaded(
        begins.state,
        begins.prompt,
        begins.asker,
        begins.asker_name,
        tuple(message for message in begins.pending if message.message not in completed),
        tuple(known),
        goes_on,
        goes_on and begun is not None and unfinished is None,
        unfinished,
        tuple(completed),
        tuple(m.message for m in shown if m.turn == run.turn and m.message not in finished),
        tuple(m.message for m in shown),
    )


def _may_have_shown(run: ClaimedRun, known: list[Call], *, goes_on: bool) -> bool:
    """Whether something of the present turn may have been shown that no checkpoint holds."""
    if not goes_on:
        return True
    return run.cut_off and all(call.status is CallStatus.DONE for call in known)


def turn_request(
    run: ClaimedRun,
    team: TeamSpec,
    loaded: Loaded,
    allowance: Allowance,
    *,
    turn: int,
    state: str | None,
    given: Iterable[PendingInput],
    results: tuple[CallResult, ...],
    goes_on: bool,
) -> TurnRequest:
    """What an engine is asked for. The keywords are of this turn, the rest is the same in all turns of the run, but for
    the allowance."""
    return TurnRequest(
        session=run.lease.session,
        run=run.lease.run,
        team=team,
        turn=turn,
        state=state,
        inputs=tuple(_as_input(message, team) for message in given),
        prompt=loaded.prompt,
        to=run.to,
        timeout_s=allowance.seconds(team.turn_timeout_s),
        results=results,
        goes_on=goes_on,
        user=loaded.user,
        attempt=run.attempt,
        allowance=allowance,
    )


def _as_input(message: PendingInput, team: TeamSpec) -> Input:
    """A message under a name that model providers take and that nobody else has for models, in whatever case: whoever
    could speak under an agent's name, or that of who leads, would be obeyed as they are."""
    if message.is_agent:
        return Input(message.author_id, message.text, is_agent=True)
    source = _UNSAFE.sub("_", message.author_name).strip("_")[:48] or "user"
    taken = {agent.name.casefold() for agent in team.everybody()} | NOT_PEOPLE
    while source.casefold() in taken:
        source = f"user_{source}"
    notes = [note(part) for part in message.parts if part["type"] == "attachment"]
    return Input(source, "\n".join([message.text, *notes] if message.text else notes) if notes else message.text)


async def _shown(open_messages: OpenMessages, run: ClaimedRun) -> list[OpenMessage]:
    try:
        left_open = await open_messages.snapshots(run.lease.session)
    except Unavailable:
        return []
    return [message for message in left_open if message.run == run.lease.run]
