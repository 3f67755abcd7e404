"""Messages and the transcript."""

import pytest
from sqlalchemy import text as sql

from hub.domain.errors import Conflict
from hub.domain.ids import MessageId, RunId, SessionId, UserId, new_id
from hub.domain.run import MessageStatus, Usage
from hub.domain.session import Role
from hub.store import log, messages, pending, sending
from hub.store.database import Db, Store
from hub.store.messages import AgentMessage
from hub.store.pending import Given
from hub.store.sending import SentMessage
from tests.store.conftest import event, make_lease


async def say(
    db: Db, session: SessionId, user: UserId, text: str, *, client_id: str, run: RunId | None = None
) -> MessageId:
    message = MessageId(new_id())
    [logged] = await log.append(db, session, [event()])
    await db.execute(
        sql("""
            INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, parts, client_id,
                                  body_hash, queued_run, status, created_at)
            VALUES (CAST(:id AS uuid), CAST(:session AS uuid), :seq, 'user', :user, 'Alice', :text, '[]', :client_id,
                    'hash', CAST(:run AS uuid), 'complete', :at)
        """),
        {
            "id": message,
            "session": session,
            "seq": logged.seq,
            "user": user,
            "text": text,
            "client_id": client_id,
            "run": run,
            "at": logged.ts,
        },
    )
    return message


def spoken(message: MessageId, seq: int, text: str, turn: int = 0) -> AgentMessage:
    return AgentMessage(
        id=message,
        seq=seq,
        author_id="writer",
        author_name="Writer",
        text=text,
        reasoning="hm",
        turn=turn,
        status=MessageStatus.COMPLETE,
        usage=Usage(3, 4),
    )


async def answer(db: Db, session: SessionId, run: RunId, text: str, turn: int = 0) -> MessageId:
    message = MessageId(new_id())
    [logged] = await log.append(db, session, [event(run=run)])
    await messages.insert_agents(db, session, [spoken(message, logged.seq, text, turn)])
    return message


async def test_the_transcript_is_what_was_said(store: Store, session: SessionId, alice: UserId) -> None:
    run = RunId(new_id())
    async with store.transaction() as db:
        asked = await say(db, session, alice, "Hello ✨", client_id="1", run=run)
        told = await answer(db, session, run, "t0.0 t0.1 ")
    async with store.transaction() as db:
        first, second = await messages.transcript(db, session, after_seq=0, limit=10)
        events = await log.read(db, session, after=0, limit=10)
        assert await messages.transcript(db, session, after_seq=1, limit=10) == [second]
        assert await messages.transcript(db, session, after_seq=0, limit=1) == [first]
        assert await pending.given(db, session, asked) == Given(None, False, "Hello ✨", alice, "Alice")
        assert await pending.given(db, SessionId(new_id()), asked) == Given(None, False, "", None, "")
    assert (first.id, first.seq, first.run, first.text, first.status) == (asked, 1, None, "Hello ✨", "complete")
    assert first.author == {"kind": "user", "id": alice, "name": "Alice"}
    assert (second.id, second.seq, second.run, second.text, second.status) == (told, 2, run, "t0.0 t0.1 ", "complete")
    assert second.author == {"kind": "agent", "name": "writer", "display_name": "Writer"}
    assert [first.created_at, second.created_at] == [e.ts for e in events]


async def test_void_messages_are_not_in_the_transcript(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        void = await answer(db, session, lease.run, "once")
        assert await pending.of_turn(db, session, lease.run, 0) == [void]
        await messages.void(db, session, [(void, 7)])
        await messages.void(db, session, [])
        kept = await answer(db, session, lease.run, "twice")
        assert [m.id for m in await messages.transcript(db, session, after_seq=0, limit=10)] == [kept]


async def test_a_client_id_finds_its_message(store: Store, session: SessionId, alice: UserId, bob: UserId) -> None:
    run = RunId(new_id())
    async with store.transaction() as db:
        message = await say(db, session, alice, "a", client_id="k", run=run)
        found = await sending.before(db, session, alice, "k", most_runs=9)
        assert found is not None
        assert (found.known, found.busy) == (SentMessage(message, 1, b"hash", run), None)
        assert found.session.role is Role.OWNER
        for who, key in ((alice, "K"), (bob, "k")):
            other = await sending.before(db, session, who, key, most_runs=9)
            assert other is not None
            assert other.known is None
        assert await sending.before(db, SessionId(new_id()), alice, "k", most_runs=9) is None
        await say(db, session, bob, "b", client_id="k")  # another author's key is another key


async def test_a_client_id_cannot_be_used_twice(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        await say(db, session, alice, "a", client_id="k")
    with pytest.raises(Conflict):
        async with store.transaction() as db:
            await say(db, session, alice, "b", client_id="k")
    async with store.transaction() as db:
        assert await log.last_seq(db, session) == 1


async def test_messages_without_client_id_do_not_collide(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        await answer(db, session, RunId(new_id()), "a")
        await answer(db, session, RunId(new_id()), "b")
