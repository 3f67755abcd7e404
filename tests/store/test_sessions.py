"""Sessions and their members."""

import asyncio

import pytest
from sqlalchemy import text

from hub.domain.errors import BadRequest
from hub.domain.ids import SessionId, UserId, new_id
from hub.domain.session import Member, OnBusy, Role, Session, SessionStatus
from hub.store import log, members, sessions
from hub.store.database import Store
from tests.store.conftest import event, make_lease, make_session, somebody_waits


async def test_create_and_get(store: Store, alice: UserId, bob: UserId) -> None:
    session = SessionId(new_id())
    async with store.transaction() as db:
        await sessions.create(
            db,
            id=session,
            title="Ideas ✨",
            team="duo",
            on_busy=OnBusy.REJECT,
            metadata={"tags": ["a"], "deep": {"n": 10**20}},
            owner=alice,
        )
        seen = await sessions.get(db, session, alice)
        assert seen is not None
        assert (seen.id, seen.title, seen.team, seen.on_busy) == (session, "Ideas ✨", "duo", OnBusy.REJECT)
        assert (seen.role, seen.status, seen.last_seq) == (Role.OWNER, SessionStatus.IDLE, 0)
        assert seen.metadata == {"tags": ["a"], "deep": {"n": 10**20}}
        assert seen.created_at.tzinfo is not None
        by_bob = await sessions.get(db, session, bob)
        assert by_bob is not None
        assert by_bob.role is None
        assert await sessions.role(db, session, alice) is Role.OWNER
        assert await sessions.role(db, session, bob) is None
        assert await sessions.get(db, SessionId(new_id()), alice) is None


async def test_the_status_is_that_of_the_live_run(store: Store, session: SessionId, alice: UserId) -> None:
    await make_lease(store, session, alice)
    async with store.transaction() as db:
        seen = await sessions.get(db, session, alice)
    assert seen is not None
    assert seen.status is SessionStatus.RUNNING


async def test_update_changes_what_is_given(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        before = await sessions.get(db, session, alice)
        assert await sessions.update(db, session, title="")
        assert await sessions.update(db, session, metadata={}, on_busy=OnBusy.STEER)
        after = await sessions.get(db, session, alice)
        assert not await sessions.update(db, SessionId(new_id()), title="x")
    assert before is not None
    assert after is not None
    assert (after.title, after.metadata, after.on_busy) == ("", {}, OnBusy.STEER)
    assert after.team == before.team
    assert after.updated_at > before.updated_at


async def test_a_deleted_session_is_unknown(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        assert await sessions.delete(db, session)
        assert not await sessions.delete(db, session)
        assert await sessions.get(db, session, alice) is None
        assert await sessions.role(db, session, alice) is None
        assert await sessions.lock(db, session) is None
        assert await sessions.get(db, session, alice, lock=True) is None
        assert await sessions.page(db, alice, limit=10) == ([], None)
        assert await log.last_seq(db, session) is None
        assert not await sessions.update(db, session, title="x")


async def test_pages_show_each_session_once_last_changed_first(store: Store, alice: UserId, bob: UserId) -> None:
    async with store.transaction() as db:
        made = [await make_session(db, alice, f"s{n}") for n in range(7)]
        await make_session(db, bob)
        # Two with one time: the id decides.
        await db.execute(text("UPDATE sessions SET updated_at = '2026-01-01' WHERE title IN ('s2', 's3')"))
    async with store.transaction() as db:
        await log.append(db, made[0], [event()])
    shown, cursor = [], None
    while True:
        async with store.transaction() as db:
            page, cursor = await sessions.page(db, alice, limit=3, cursor=cursor)
        shown += page
        assert len(page) <= 3
        if cursor is None:
            break
    tied = sorted(made[2:4], reverse=True)
    assert [s.id for s in shown] == [made[0], made[6], made[5], made[4], made[1], *tied]
    assert {s.role for s in shown} == {Role.OWNER}


async def test_a_full_last_page_has_no_cursor(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        page, cursor = await sessions.page(db, alice, limit=1)
    assert [s.id for s in page] == [session]
    assert cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "===", "é", "bm9uc2Vuc2U", "MjAyNi0wMS0wMSB4", "\x00" * 9])
async def test_a_cursor_of_ones_own_making_is_refused(store: Store, alice: UserId, cursor: str) -> None:
    with pytest.raises(BadRequest):
        async with store.transaction() as db:
            await sessions.page(db, alice, limit=3, cursor=cursor)


@pytest.mark.parametrize("locked_by", ["lock", "get"])
async def test_a_locked_session_waits_for_nobody_but_writers(
    store: Store, session: SessionId, alice: UserId, bob: UserId, locked_by: str
) -> None:
    done: list[str] = []

    async def append() -> None:
        async with store.transaction() as db:
            await log.append(db, session, [event()])
            done.append("append")

    async with asyncio.TaskGroup() as tasks, store.transaction() as db:
        if locked_by == "lock":
            locked = await sessions.lock(db, session)
            assert locked is not None
            assert (locked.title, locked.team, locked.on_busy, locked.last_seq) == ("plans", "duo", OnBusy.QUEUE, 0)
        else:
            seen = await sessions.get(db, session, alice, lock=True)
            assert seen is not None
            assert seen.role is Role.OWNER
        tasks.create_task(append())
        async with store.transaction() as reader:
            assert await sessions.get(reader, session, alice) is not None
            assert await members.put(reader, session, bob, Role.VIEWER) == "added"
        await somebody_waits(store)
        done.append("holder")
    assert done == ["holder", "append"]


@pytest.mark.parametrize("change", ["removed", "demoted", "nothing"])
async def test_who_waited_for_the_session_sees_the_membership_as_it_is(
    store: Store, session: SessionId, alice: UserId, bob: UserId, change: str
) -> None:
    async def look() -> Session | None:
        async with store.transaction() as db:
            return await sessions.get(db, session, bob, lock=True)

    async with store.transaction() as db:
        await members.put(db, session, bob, Role.EDITOR)
    async with asyncio.TaskGroup() as tasks:
        async with store.transaction() as db:
            await sessions.get(db, session, alice, lock=True)
            seen = tasks.create_task(look())
            await somebody_waits(store)
            if change == "removed":
                await members.remove(db, session, bob)
            elif change == "demoted":
                await members.put(db, session, bob, Role.VIEWER)
            await log.append(db, session, [event()])
        found = await seen
    if change == "removed":
        assert found is None
    else:
        assert found is not None
        assert (found.role, found.last_seq) == (Role.VIEWER if change == "demoted" else Role.EDITOR, 1)


async def test_a_stranger_locks_nothing(store: Store, session: SessionId, bob: UserId) -> None:
    async with store.transaction() as db:
        assert await sessions.get(db, session, bob, lock=True) is None
        async with store.transaction() as other:
            assert await sessions.lock(other, session) is not None


async def test_members(store: Store, session: SessionId, alice: UserId, bob: UserId) -> None:
    async with store.transaction() as db:
        assert await members.put(db, session, bob, Role.VIEWER) == "added"
        assert await members.put(db, session, bob, Role.VIEWER) == "unchanged"
        assert await members.put(db, session, bob, Role.OWNER) == "updated"
        assert await sessions.role(db, session, bob) is Role.OWNER
        assert await members.owners(db, session) == 2
        assert await members.list(db, session) == [Member(alice, "Alice", Role.OWNER), Member(bob, "Bob", Role.OWNER)]
        assert await members.remove(db, session, bob) == Member(bob, "Bob", Role.OWNER)
        assert await members.remove(db, session, bob) is None
        assert await members.owners(db, session) == 1
        assert await sessions.role(db, session, bob) is None


async def test_which_memberships_have_ended(store: Store, session: SessionId, alice: UserId, bob: UserId) -> None:
    async with store.transaction() as db:
        deleted = await make_session(db, alice)
        await sessions.delete(db, deleted)
        asked = [(session, alice), (session, bob), (deleted, alice), (SessionId(new_id()), alice)]
        assert await members.ended(db, asked) == {*asked} - {(session, alice)}
        assert await members.ended(db, []) == set()
        await db.execute(text("UPDATE organisations SET erased_at = now()"))
        assert await members.ended(db, asked) == {*asked}
        await db.rollback()
