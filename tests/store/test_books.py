"""Usage, audit and counters."""

import asyncio

from sqlalchemy import text

from hub.domain.ids import SessionId, UserId
from hub.domain.run import Usage
from hub.store import audit, counters, usage
from hub.store.database import Store
from tests.store.conftest import make_lease


async def test_usage_is_booked_for_who_asked(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        await usage.add(db, run=lease.run, turn=2, model="local", usage=Usage(10, 20))
        row = (
            await db.execute(
                text("""
                    SELECT session_id::text, run_id::text, user_id::text, turn, model, prompt_tokens, completion_tokens
                    FROM usage
                """)
            )
        ).one()
    assert tuple(row) == (session, lease.run, alice, 2, "local", 10, 20)


async def test_audit(store: Store, alice: UserId) -> None:
    async with store.transaction() as db:
        await audit.add(db, actor=alice, action="key.create", object="key:1", address="::1", detail={"n": 1})
        await audit.add(db, actor=None, action="user.create", object="user:1")
        rows = await db.execute(text("SELECT actor::text, action, object, address, detail FROM audit ORDER BY id"))
        assert [tuple(row) for row in rows] == [
            (alice, "key.create", "key:1", "::1", {"n": 1}),
            (None, "user.create", "user:1", None, {}),
        ]


async def test_counters_lose_no_increment(store: Store) -> None:
    async def increment() -> int:
        async with store.transaction() as db:
            return await counters.increment(db, "k")

    assert sorted(await asyncio.gather(*(increment() for _ in range(10)))) == list(range(1, 11))
    async with store.transaction() as db:
        assert await counters.increment(db, "other") == 1
