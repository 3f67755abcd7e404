"""Runs and leases: one live run per session, one holder per run, and nobody writes with an old lease."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from hub.domain.errors import Conflict
from hub.domain.ids import MessageId, RunId, SessionId, UserId, new_id
from hub.domain.run import ClaimedRun, Lease, ModelCall, RunStatus, TurnBooks, Usage
from hub.domain.session import Role
from hub.store import closing, leases, log, runs, sending, teams
from hub.store.closing import ClosedTurn
from hub.store.database import Store
from hub.store.log import LeaseLost
from hub.store.sending import NewMessage
from tests.store.conftest import enqueue, event, make_lease, make_session

NO_BOOKS = TurnBooks([ModelCall("local", "alpha", Usage())], turns=1)
DONE = runs.FinishedRun(RunStatus.COMPLETED, "done", None, 2, Usage(5, 6))


async def claim(store: Store, node: str = "node", limit: int = 10) -> list[ClaimedRun]:
    async with store.transaction() as db:
        return await leases.claim(db, node=node, limit=limit, lease_s=15)


async def expire(store: Store) -> None:
    async with store.transaction() as db:
        await db.execute(text("UPDATE runs SET lease_until = clock_timestamp() - interval '1 ms'"))


async def test_a_session_runs_one_after_the_other(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        first, second = await enqueue(db, session, alice, 1), await enqueue(db, session, alice, 3)
        other = await enqueue(db, await make_session(db, alice), alice, 1)
    claimed = await claim(store)
    assert {c.lease.run for c in claimed} == {first, other}
    assert await claim(store) == []
    [lease] = [c.lease for c in claimed if c.lease.run == first]
    async with store.transaction() as db:
        assert [r.id for r in await runs.open_runs(db, session)] == [first, second]
        await runs.finish(db, lease, DONE)
    [following] = await claim(store)
    assert (following.lease.run, following.attempt, following.turn, following.to) == (second, 1, 0, "writer")
    assert following.lease.epoch > lease.epoch
    async with store.transaction() as db:
        ended = await runs.get(db, first)
    assert ended is not None
    assert (ended.status, ended.turns, ended.usage) == (RunStatus.COMPLETED, 2, Usage(5, 6))
    assert ended.finished_at is not None


async def test_a_run_keeps_the_version_of_its_team(store: Store, session: SessionId, alice: UserId) -> None:
    """Also when a file of the team's name comes, or was there first."""
    async with store.transaction() as db:
        await enqueue(db, session, alice, 1)
        await enqueue(db, other := await make_session(db, alice), alice, 1)
        name: str = (await db.execute(text("SELECT DISTINCT team FROM runs"))).scalar_one()
        await teams.add(db, name, organisation=None, source="one", user=None)
    async with store.transaction() as db:
        (first,) = await leases.claim(db, node="a", limit=1, lease_s=15, files=[name])
        (second,) = await leases.claim(db, node="a", limit=1, lease_s=15)
    assert (first.team_version, second.team_version) == (None, 1)
    await expire(store)
    async with store.transaction() as db:
        await teams.add(db, name, organisation=None, source="two", user=None)
        again = await leases.claim(db, node="b", limit=2, lease_s=15, files=[name])
    assert {run.lease.session: run.team_version for run in again} == {
        first.lease.session: None,
        second.lease.session: 1,
    }
    assert {first.lease.session, second.lease.session} == {session, other}


async def test_the_database_allows_one_live_run_per_session(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        await enqueue(db, session, alice, 1)
        await enqueue(db, session, alice, 2)
    with pytest.raises(Conflict):
        async with store.transaction() as db:
            await db.execute(text("UPDATE runs SET status = 'running'"))


async def test_many_runners_share_the_queue(store: Store, alice: UserId) -> None:
    async with store.transaction() as db:
        queued = [await enqueue(db, await make_session(db, alice), alice, 1) for _ in range(20)]
    claims = await asyncio.gather(*(claim(store, f"node{n}", 4) for n in range(6)))
    claims.append(await claim(store, limit=20))
    got = [c.lease for claimed in claims for c in claimed]
    assert sorted(lease.run for lease in got) == sorted(queued)
    assert len({lease.epoch for lease in got}) == 20


async def test_a_run_whose_lease_ran_out_is_taken_over(store: Store, session: SessionId, alice: UserId) -> None:
    old = await make_lease(store, session, alice)
    await expire(store)
    [taken] = await claim(store)
    assert (taken.lease.run, taken.attempt, taken.turn, taken.usage) == (old.run, 2, 0, Usage())
    assert taken.lease.epoch > old.epoch
    async with store.transaction() as db:
        assert await leases.renew(db, [old], 15) == set()
        assert await leases.stops(db, [old, taken.lease]) == {old: None}
        await leases.release(db, old, clean=True)  # nothing of his any more
    assert await claim(store) == []
    with pytest.raises(LeaseLost):
        async with store.transaction() as db:
            await runs.finish(db, old, DONE)


async def test_a_renewed_lease_is_kept(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    await expire(store)
    async with store.transaction() as db:
        assert await leases.renew(db, [lease], 15) == {lease}
    assert await claim(store) == []


async def test_a_released_lease_can_be_taken_at_once(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        await leases.release(db, lease, clean=True)
    async with store.transaction() as db:
        assert await leases.claim(db, node="node", limit=10, lease_s=15, lost=False) == []
    assert [c.lease.run for c in await claim(store)] == [lease.run]


async def test_stopping(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        queued = await enqueue(db, session, alice, 2)
        assert await leases.stops(db, [lease]) == {}
        assert await leases.stopping(db) == {}
        assert not await runs.finish_idle(db, lease.run, "late")
        assert not await runs.ask_stop(db, queued, "early")
        assert await runs.ask_stop(db, lease.run, "first")
        assert await runs.ask_stop(db, lease.run, "second")
        assert await leases.stops(db, [lease]) == {lease: "first"}
        assert await leases.stopping(db) == {lease: "first"}
        assert await runs.finish_idle(db, queued, "cancelled")
        await runs.finish(db, lease, replace(DONE, status=RunStatus.CANCELLED, error='{"code":"x"}'))
        assert not await runs.ask_stop(db, lease.run, "too late")
        assert await leases.stopping(db) == {}
        assert await runs.open_runs(db, session) == []
        assert await runs.get(db, RunId(new_id())) is None


async def test_ending_all(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        queued = await enqueue(db, session, alice, 2)
        ended = await runs.end_from(db, session, 2, "session deleted")
        assert [r.id for r, _ in ended] == [lease.run, queued]
        assert {r.status for r, _ in ended} == {RunStatus.CANCELLED}
        assert [held.epoch > lease.epoch for _, held in ended] == [True, False]
        spared = await enqueue(db, session, alice, 3)
        assert await runs.end_from(db, session, 4, "cut") == []
        assert [r.id for r in await runs.open_runs(db, session)] == [spared]
        assert await leases.stops(db, [lease]) == {lease: None}


async def test_leases_of_nobody(store: Store) -> None:
    async with store.transaction() as db:
        assert await leases.renew(db, [], 15) == set()
        assert await leases.stops(db, []) == {}
        stranger = Lease(RunId(new_id()), SessionId(new_id()), 1)
        assert await leases.stops(db, [stranger]) == {stranger: None}


async def test_runs_of_others_are_not_read_by_a_message_and_its_run(
    store: Store, session: SessionId, alice: UserId
) -> None:
    """As long as PostgreSQL has no statistics, any index of open runs looks as good as the one for this."""
    many = 40
    async with store.transaction() as db:
        for _ in range(many):
            await enqueue(db, await make_session(db, alice), alice, 1)
    assert len(await claim(store, limit=many)) == many
    read = text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'runs'")
    async with store.transaction() as db:
        await db.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        before = (await db.execute(read)).scalar_one()  # it counts what this connection did just before, too
        message = NewMessage(
            id=MessageId(new_id()),
            run=RunId(new_id()),
            team=None,
            author=alice,
            author_name="Alice",
            text="hello",
            client_id="1",
            to=None,
        )
        events = await sending.at_once(db, session, message, on_busy=None, roles=list(Role), limited=[], most_runs=None)
        assert events is not None
        [claimed] = await leases.claim(db, node="node", limit=16, lease_s=15, lost=False)
        assert claimed.lease.run == message.run
        assert message.run is not None
        await log.append(db, session, [event(run=message.run)], lease=claimed.lease)
        turn = ClosedTurn(claimed.lease, 1, 3, "duo", "{}", [event(run=message.run)], (), [message.id], NO_BOOKS)
        assert await closing.go_on(db, turn, Usage()) is not None
        turn = replace(turn, turns=2, calls=False)
        assert await closing.finish(db, turn, DONE, alone=True) is not None
        assert (await db.execute(read)).scalar_one() - before < many / 2
