"""Audit and counters."""

import asyncio

from sqlalchemy import text

from hub.domain.ids import UserId
from hub.store import audit, counters
from hub.store.database import Store


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
