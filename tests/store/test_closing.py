"""The end of a turn: all of it is written, or nothing."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId, UserId, new_id
from hub.domain.run import Lease, MessageStatus, ModelCall, RunStatus, TurnBooks, Usage
from hub.domain.usage import Spent
from hub.store import closing, leases, log, messages, pending, runs, usage
from hub.store.closing import ClosedTurn
from hub.store.database import Db, Store
from hub.store.log import LeaseLost
from hub.store.pending import PendingInput
from hub.store.usage import ModelUsage
from tests.store.conftest import enqueue, event, given, make_lease, make_session, somebody_waits
from tests.store.test_messages import answer, say, spoken
from tests.store.test_runs import DONE

NOTHING = Usage()
BOOKS = TurnBooks(
    [
        ModelCall("local", "alpha", Usage(10, 20, 7), finish="stop"),
        ModelCall("fast", None, Usage(1, 2), error="model_unavailable: HTTP 500"),
    ],
    turns=1,
    tool_calls=3,
    duration_ms=40,
)


async def newest(db: Db, session: SessionId) -> tuple[object, ...] | None:
    """The session's newest checkpoint."""
    row = await db.execute(
        text("""
            SELECT seq, run_id::text, turn, engine, state FROM checkpoints
            WHERE session_id = CAST(:session AS uuid) ORDER BY seq DESC LIMIT 1
        """),
        {"session": session},
    )
    found = row.one_or_none()
    return tuple(found) if found is not None else None


def closed(lease: Lease, state: str | None = "{}", turns: int = 1) -> ClosedTurn:
    return ClosedTurn(lease, turns, 0, "duo", state, [event(run=lease.run)], (), (), BOOKS)


async def close(store: Store, turn: ClosedTurn, total: Usage = NOTHING) -> list[PendingInput]:
    async with store.transaction(lock=turn.lease.session) as db:
        went_on = await closing.go_on(db, turn, total)
        assert went_on is not None
        assert not went_on.paused
        return list(went_on.pending)


async def test_a_finished_turn_is_recorded_whole(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    message = MessageId(new_id())
    async with store.transaction() as db:
        own = await say(db, session, alice, "own", client_id="1", run=lease.run)
        earlier = await answer(db, session, lease.run, "before a tool was called")
        aside = await say(db, session, alice, "said meanwhile", client_id="2")
        turn = replace(closed(lease), said=[spoken(message, "words")], taken_in=[own, earlier])
        # What the next turn is given: not what this one was given, or has said.
        went_on = await closing.go_on(db, turn, Usage(11, 22, 33))
        assert went_on is not None
        [logged] = went_on.events
        assert [m.message for m in went_on.pending] == [aside]
        assert list(went_on.pending) == await given(db, session, lease.run)
    async with store.transaction() as db:
        assert await newest(db, session) == (logged.seq, lease.run, 0, "duo", "{}")
        run = await runs.get(db, lease.run)
        assert run is not None
        assert (run.turns, run.usage, run.status) == (1, Usage(11, 22, 33), RunStatus.RUNNING)
        told = (await messages.transcript(db, session, after_seq=logged.seq - 1, limit=1))[0]
        assert (told.id, told.run, told.text, told.created_at) == (message, lease.run, "words", logged.ts)
        books = await db.execute(
            text("""
                SELECT session_id::text, run_id::text, user_id::text, turn, model, agent, prompt_tokens,
                       completion_tokens, cost_micros, finish, error, turns, tool_calls, duration_ms
                FROM usage ORDER BY id
            """)
        )
        assert [tuple(row) for row in books] == [
            (session, lease.run, alice, 1, "local", "alpha", 10, 20, 7, "stop", None, 1, 3, 40),
            (session, lease.run, alice, 1, "fast", None, 1, 2, 0, None, "model_unavailable: HTTP 500", 0, 0, 0),
        ]
        assert await usage.of_session(db, session) == [
            ModelUsage("fast", 1, Spent(1, 2)),
            ModelUsage("local", 1, Spent(10, 20, 7, 1, 3, 40)),
        ]
        day = timedelta(days=1)
        mine = await usage.of_user(db, alice, since=logged.ts - day, until=logged.ts + day)
        assert mine == await usage.of_session(db, session)
        assert await usage.of_user(db, alice, since=logged.ts - 2 * day, until=logged.ts - day) == []


async def test_a_turn_without_a_result_leaves_no_checkpoint(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    message = MessageId(new_id())
    async with store.transaction() as db:
        own = await say(db, session, alice, "own", client_id="1", run=lease.run)
        said = replace(spoken(message, "wor"), status=MessageStatus.INTERRUPTED)
        turn = replace(closed(lease, None, 0), said=[said], taken_in=[own])
        await closing.finish(db, turn, replace(DONE, status=RunStatus.CANCELLED, error='{"code":"x"}'))
        assert await newest(db, session) is None
        # The next run is given the message again, and the interrupted words.
        assert [m.message for m in await given(db, session, RunId(new_id()))] == [own, message]
        ended = await runs.get(db, lease.run)
        assert ended is not None
        assert (ended.status, ended.usage) == (RunStatus.CANCELLED, DONE.usage)
        assert ended.finished_at is not None
        assert (await db.execute(text("SELECT sum(prompt_tokens) FROM usage"))).scalar_one() == 11


@pytest.mark.parametrize("calls", [True, False], ids=["with calls", "without"])
async def test_nothing_is_written_under_an_old_lease(
    store: Store, session: SessionId, alice: UserId, calls: bool
) -> None:
    lease = await make_lease(store, session, alice)
    old = replace(lease, epoch=lease.epoch - 1)
    turn = replace(closed(old), calls=calls, said=[spoken(MessageId(new_id()), "late")])
    with pytest.raises(LeaseLost):
        await close(store, turn)
    with pytest.raises(LeaseLost):
        async with store.transaction() as db:
            await closing.finish(db, turn, DONE)
    async with store.statements() as db:
        assert await closing.finish(db, turn, DONE, alone=True) is None
        assert await closing.go_on(db, turn, NOTHING, alone=True) is None
        assert await log.last_seq(db, session) == 0
        assert (
            await closing.finish(db, replace(closed(lease, turns=DONE.turns), calls=calls), DONE, alone=True)
            is not None
        )
    with pytest.raises(LeaseLost):  # it has ended
        await close(store, closed(lease))
    async with store.transaction() as db:
        assert await newest(db, session) == (1, lease.run, 1, "duo", "{}")
        assert await messages.transcript(db, session, after_seq=0, limit=10) == []
        assert (await db.execute(text("SELECT count(*) FROM usage"))).scalar_one() == 2


async def test_the_newest_checkpoints_are_kept(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        other = await make_session(db, alice)
        assert await newest(db, session) is None
    elsewhere, lease = await make_lease(store, other, alice), await make_lease(store, session, alice)
    await close(store, closed(elsewhere))
    for n in range(1, 6):
        assert await close(store, closed(lease, f'{{"n": {n}}}', turns=n + 1)) == []
    await close(store, closed(lease, None))  # prunes nothing
    async with store.transaction() as db:
        assert await newest(db, session) == (5, lease.run, 5, "duo", '{"n": 5}')
        rows = await db.execute(text("SELECT seq FROM checkpoints ORDER BY session_id = :s, seq"), {"s": session})
        assert [row.seq for row in rows] == [1, 3, 4, 5]


async def test_a_turn_without_events_stands_where_the_runs_last_event_does(
    store: Store, session: SessionId, alice: UserId
) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        [begun] = await log.append(db, session, [event(run=lease.run)], lease=lease)
        await say(db, session, alice, "not taken in", client_id="1")
    state = '{"said": "%s"}' % ("again " * 5_000)
    await close(store, replace(closed(lease, state), seq=begun.seq, events=()))
    async with store.transaction() as db:
        assert await newest(db, session) == (begun.seq, lease.run, 0, "duo", state)
        # Nobody waits for its compression.
        assert (await db.execute(text("SELECT pg_column_size(state) FROM checkpoints"))).scalar_one() >= len(state)
        assert await log.last_seq(db, session) == 2


@pytest.mark.parametrize("calls", [True, False], ids=["with calls", "without"])
async def test_alone_it_does_not_miss_what_came_while_it_waited(
    store: Store, session: SessionId, alice: UserId, calls: bool
) -> None:
    """It sees the session as it was before it waited for the lock: what was said meanwhile it would leave to nobody."""
    lease = await make_lease(store, session, alice)

    async def alone(*, end: bool) -> bool:
        async with store.statements() as db:
            if end:
                return await closing.finish(db, replace(closed(lease), calls=calls), DONE, alone=True) is not None
            return await closing.go_on(db, replace(closed(lease), calls=calls), NOTHING, alone=True) is not None

    async with asyncio.TaskGroup() as tasks:
        async with store.transaction(lock=session) as db:
            waiting = tasks.create_task(alone(end=False))
            await somebody_waits(store)
            await say(db, session, alice, "said meanwhile", client_id="1")
        assert not await waiting
        async with store.transaction(lock=session) as db:
            waiting = tasks.create_task(alone(end=True))
            await somebody_waits(store)
            await say(db, session, alice, "and again", client_id="2")
        assert not await waiting
        async with store.transaction(lock=session):
            waiting = tasks.create_task(alone(end=False))
            await somebody_waits(store)
        assert await waiting  # nothing came
    async with store.statements() as db:
        assert await newest(db, session) == (3, lease.run, 0, "duo", "{}")


@pytest.mark.parametrize("calls", [True, False], ids=["with calls", "without"])
async def test_alone_it_leaves_what_takes_more_than_one_statement(
    store: Store, session: SessionId, alice: UserId, calls: bool
) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        steering = await say(db, session, alice, "Shorter!", client_id="1")
        await db.execute(text("UPDATE messages SET steers = CAST(:run AS uuid)"), {"run": lease.run})
    async with store.statements() as db:
        assert await closing.finish(db, replace(closed(lease), calls=calls), DONE, alone=True) is None
        await runs.pause(db, lease.run)
        assert await closing.go_on(db, replace(closed(lease), calls=calls), NOTHING, alone=True) is None
        assert await newest(db, session) is None
    async with store.transaction(lock=session) as db:
        went_on = await closing.go_on(db, replace(closed(lease), calls=calls), NOTHING)
        assert went_on is not None
        assert went_on.paused
        assert [m.message for m in went_on.pending] == [steering]


async def test_a_run_is_found_by_indexes_while_postgresql_knows_nothing_of_its_tables(
    store: Store, session: SessionId, alice: UserId
) -> None:
    """A new hub has no statistics for its first minutes, and a connection keeps its plans."""
    state, scanned = (
        "{}",
        text("""
        SELECT relname::text, seq_scan FROM pg_stat_xact_user_tables
        WHERE relname IN ('messages', 'runs', 'checkpoints', 'events', 'sessions') AND seq_scan > 0
    """),
    )
    async with store.transaction() as db:
        run = await enqueue(db, session, alice, 1)
        await enqueue(db, session, alice, 2)
        message = await say(db, session, alice, "own", client_id="1", run=run)
    async with store.transaction() as db:
        await db.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        [claimed] = await leases.claim(db, node="node", limit=16, lease_s=15)
        begins = (await pending.given(db, [(claimed.lease, message)]))[claimed.lease]
        assert [given.message for given in begins.pending] == [message]
        assert (begins.prompt, begins.asker, begins.state) == ("own", alice, None)
        turn = replace(closed(claimed.lease, state), taken_in=[message], said=[spoken(MessageId(new_id()), "words")])
        went_on = await closing.go_on(db, turn, NOTHING)
        assert went_on is not None
        assert went_on.pending == ()
        again = (await pending.given(db, [(claimed.lease, message)]))[claimed.lease]
        assert (again.prompt, again.state, again.pending) == ("own", state, ())
        await closing.finish(db, replace(turn, turns=2, taken_in=[], said=[]), replace(DONE, turns=2))
        assert [tuple(row) for row in await db.execute(scanned)] == []


async def test_what_runs_begin_with_that_were_claimed_together_is_each_ones_own(
    store: Store, session: SessionId, alice: UserId
) -> None:
    async with store.transaction() as db:
        other = await make_session(db, alice)
        one, two = await enqueue(db, session, alice, 2), await enqueue(db, other, alice, 1)
        before = await say(db, session, alice, "before", client_id="0")
        asked = await say(db, session, alice, "one", client_id="1", run=one)
        elsewhere = await say(db, other, alice, "two", client_id="1", run=two)
    async with store.transaction() as db:
        claimed = {c.lease.run: c.lease for c in await leases.claim(db, node="node", limit=16, lease_s=15)}
    await close(store, replace(closed(claimed[two], '{"of": "two"}'), taken_in=[elsewhere]))
    async with store.transaction() as db:
        begins = await pending.given(db, [(claimed[one], asked), (claimed[two], elsewhere)])
    first, second = begins[claimed[one]], begins[claimed[two]]
    assert [(m.message, m.text) for m in first.pending] == [(before, "before"), (asked, "one")]
    assert (first.prompt, first.state, first.asker_name) == ("one", None, "Alice")
    assert (second.prompt, second.state, second.pending) == ("two", '{"of": "two"}', ())
