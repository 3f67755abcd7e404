"""The log: contiguous, append-only, byte-exact, and closed to whoever has lost the lease."""

import asyncio
from collections.abc import Awaitable

import pytest
from sqlalchemy import text

from hub.domain.errors import NotFound
from hub.domain.ids import RunId, SessionId, UserId, new_id
from hub.domain.run import Lease, RunStatus, Usage
from hub.protocol.durable import ToolReturnedData
from hub.protocol.frames import NewEvent
from hub.store import leases, log, runs, sessions
from hub.store.database import Store
from hub.store.log import LeaseLost
from tests.store.conftest import event, make_lease, make_session, somebody_waits


async def test_seq_is_contiguous_under_concurrent_appends(store: Store, session: SessionId) -> None:
    async def append(count: int) -> list[int]:
        async with store.transaction() as db:
            return [e.seq for e in await log.append(db, session, [event(n) for n in range(count)])]

    given = await asyncio.gather(*(append(1 + n % 3) for n in range(30)))

    assert sorted(seq for seqs in given for seq in seqs) == list(range(1, 61))
    assert all(seqs == list(range(seqs[0], seqs[0] + len(seqs))) for seqs in given)
    async with store.transaction() as db:
        logged = await log.read(db, session, after=0, limit=1000)
        assert [e.seq for e in logged] == list(range(1, 61))
        assert [e.ts for e in logged] == sorted(e.ts for e in logged)
        assert await log.last_seq(db, session) == 60


async def test_reading_gives_the_very_bytes_that_were_appended(store: Store, session: SessionId) -> None:
    result = ' spaces  "quotes" \\ \n\t \u0007 ü 🙂 \u2028 <script> null \\u0000 1.0 1e400 {"b":1,"a":2,"a":3}'
    run = RunId(new_id())
    data = ToolReturnedData(call="c", name="n", result=result, is_error=False)
    async with store.transaction() as db:
        appended = await log.append(db, session, [NewEvent(data), event(run=run)])
    async with store.transaction() as db:
        logged = await log.read(db, session, after=0, limit=10)
    assert logged == appended
    assert [e.frame() for e in logged] == [e.frame() for e in appended]
    assert logged[0].data == data.model_dump_json()
    assert (logged[0].run, logged[1].run) == (None, run)


async def test_read_pages(store: Store, session: SessionId) -> None:
    async with store.transaction() as db:
        await log.append(db, session, [event(n) for n in range(7)])
        assert [e.seq for e in await log.read(db, session, after=2, limit=3)] == [3, 4, 5]
        assert await log.read(db, session, after=7, limit=3) == []


async def test_a_rollback_leaves_no_trace(store: Store, session: SessionId) -> None:
    async def fail() -> None:
        async with store.transaction() as db:
            await log.append(db, session, [event(), event()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with store.transaction() as db:
        assert await log.read(db, session, after=0, limit=10) == []
        assert [e.seq for e in await log.append(db, session, [event()])] == [1]


async def test_append_to_an_unknown_or_deleted_session(store: Store, session: SessionId) -> None:
    with pytest.raises(NotFound):
        async with store.transaction() as db:
            await log.append(db, SessionId(new_id()), [event()])
    async with store.transaction() as db:
        await sessions.delete(db, session)
    with pytest.raises(NotFound):
        async with store.transaction() as db:
            await log.append(db, session, [event()])


async def test_which_logs_go_further_than_is_known(store: Store, session: SessionId, alice: UserId) -> None:
    unknown = SessionId(new_id())
    async with store.transaction() as db:
        deleted = await make_session(db, alice)
        await log.append(db, deleted, [event()])
        await sessions.delete(db, deleted)
        await log.append(db, session, [event(), event()])
        assert await log.ahead(db, {session: 1, unknown: 0, deleted: 0}) == {session: 2}
        assert await log.ahead(db, {session: 2}) == {}
        assert await log.ahead(db, {}) == {}
        assert await log.last_seq(db, session) == 2
        assert await log.last_seq(db, unknown) is None


async def test_the_holder_of_the_lease_may_append(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        assert [e.seq for e in await log.append(db, session, [event(run=lease.run)], lease=lease)] == [1]


@pytest.mark.parametrize("change", ["older epoch", "other session", "run ended"])
async def test_an_old_lease_is_refused(store: Store, session: SessionId, alice: UserId, change: str) -> None:
    lease = await make_lease(store, session, alice)
    used, target = lease, session
    if change == "older epoch":
        used = Lease(lease.run, lease.session, lease.epoch - 1)
    elif change == "other session":
        async with store.transaction() as db:
            target = await make_session(db, alice)
    else:
        async with store.transaction() as db:
            end = runs.FinishedRun(RunStatus.COMPLETED, "done", None, 1, Usage())
            await runs.finish(db, lease, end)
    with pytest.raises(LeaseLost):
        async with store.transaction() as db:
            await log.append(db, target, [event(run=lease.run)], lease=used)
    async with store.transaction() as db:
        assert await log.last_seq(db, target) == 0


async def test_catching_a_lost_lease_does_not_save_the_transaction(
    store: Store, session: SessionId, alice: UserId
) -> None:
    lease = await make_lease(store, session, alice)
    old = Lease(lease.run, lease.session, lease.epoch - 1)

    async def stubborn() -> None:
        async with store.transaction() as db:
            with pytest.raises(LeaseLost):
                await log.append(db, session, [event()], lease=old)
            await log.append(db, session, [event()])

    with pytest.raises(RuntimeError):
        await stubborn()
    async with store.transaction() as db:
        assert await log.last_seq(db, session) == 0


async def test_a_lease_taken_over_while_the_append_waits_is_refused(
    store: Store, session: SessionId, alice: UserId
) -> None:
    """The append begins while its lease is good, waits for the session's lock, and finds the lease granted anew."""
    lease = await make_lease(store, session, alice)

    async def zombie() -> None:
        async with store.transaction() as db:
            await log.append(db, session, [event()], lease=lease)

    async with asyncio.TaskGroup() as tasks:
        async with store.transaction() as blocker:
            await sessions.lock(blocker, session)
            task = tasks.create_task(_lost(zombie()))
            await somebody_waits(store)
            async with store.transaction() as db:
                await db.execute(text("UPDATE runs SET lease_epoch = nextval('lease_epochs'), attempt = 2"))
        assert await task
    async with store.transaction() as db:
        assert await log.last_seq(db, session) == 0


async def test_a_lease_cannot_be_taken_over_between_append_and_commit(
    store: Store, session: SessionId, alice: UserId
) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        await db.execute(text("UPDATE runs SET lease_until = clock_timestamp() - interval '1 s'"))
    async with store.transaction() as db:
        await log.append(db, session, [event()], lease=lease)
        async with store.transaction() as thief:
            assert await leases.claim(thief, node="other", limit=1, lease_s=15) == []
    async with store.transaction() as thief:
        assert [c.lease.run for c in await leases.claim(thief, node="other", limit=1, lease_s=15)] == [lease.run]


async def _lost(writing: Awaitable[None]) -> bool:
    try:
        await writing
    except LeaseLost:
        return True
    return False
