"""People and sessions to write about."""

import asyncio

import pytest
from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId, UserId, new_id
from hub.domain.run import Lease
from hub.domain.session import OnBusy
from hub.protocol.durable import RunQueuedData
from hub.protocol.frames import NewEvent
from hub.store import leases, pending, sessions, users
from hub.store.database import Db, Store
from hub.store.pending import PendingInput


async def make_user(db: Db, name: str) -> UserId:
    user = UserId(new_id())
    await users.create(db, id=user, name=name, password_hash=None, is_admin=False)
    return user


async def make_session(db: Db, owner: UserId, title: str = "plans") -> SessionId:
    session = SessionId(new_id())
    await sessions.create(db, id=session, title=title, team="duo", on_busy=OnBusy.QUEUE, metadata={"n": 1}, owner=owner)
    return session


async def enqueue(db: Db, session: SessionId, user: UserId, seq: int, *, run: RunId | None = None) -> RunId:
    """A run in the queue, without its message."""
    run = run or RunId(new_id())
    await db.execute(
        text("""
            INSERT INTO runs (id, session_id, status, team, input_message, input_seq, to_agent, requested_by)
            VALUES (CAST(:run AS uuid), CAST(:session AS uuid), 'queued', 'duo', CAST(:message AS uuid), :seq, 'writer',
                    CAST(:user AS uuid))
        """),
        {"run": run, "session": session, "message": new_id(), "seq": seq, "user": user},
    )
    return run


async def make_lease(store: Store, session: SessionId, user: UserId, seq: int = 1) -> Lease:
    """A lease on a run that was just claimed."""
    run = RunId(new_id())
    async with store.transaction() as db:
        await enqueue(db, session, user, seq, run=run)
    async with store.transaction() as db:
        claimed = await leases.claim(db, node="node", limit=1, lease_s=15)
    assert [c.lease.run for c in claimed] == [run]
    return claimed[0].lease


def event(number: int = 1, run: RunId | None = None) -> NewEvent:
    return NewEvent(RunQueuedData(input_seq=number), run)


async def given(db: Db, session: SessionId, run: RunId) -> list[PendingInput]:
    """What the next turn of this run is given."""
    lease = Lease(run, session, 0)
    return list((await pending.given(db, [(lease, MessageId(new_id()))]))[lease].pending)


async def somebody_waits(store: Store) -> None:
    """Until a statement waits for a lock."""
    async with asyncio.timeout(30):
        while True:
            async with store.transaction() as db:
                waiting = await db.execute(
                    text("""
                        SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'
                    """)
                )
                if waiting.scalar_one():
                    return


@pytest.fixture
async def alice(store: Store) -> UserId:
    async with store.transaction() as db:
        return await make_user(db, "Alice")


@pytest.fixture
async def bob(store: Store) -> UserId:
    async with store.transaction() as db:
        return await make_user(db, "Bob")


@pytest.fixture
async def session(store: Store, alice: UserId) -> SessionId:
    async with store.transaction() as db:
        return await make_session(db, alice)
