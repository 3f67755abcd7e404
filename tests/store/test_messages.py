"""Messages and the transcript."""

from dataclasses import replace

import pytest
from sqlalchemy import text as sql

from hub.domain.errors import Conflict, NotFound
from hub.domain.ids import MessageId, RunId, SessionId, UserId, new_id
from hub.domain.run import Lease, MessageStatus, Usage
from hub.domain.session import Role
from hub.store import log, messages, pending, sending
from hub.store.database import Db, Store
from hub.store.log import LeaseLost
from hub.store.messages import AgentMessage
from hub.store.pending import Given
from hub.store.sending import SentMessage
from tests.store.conftest import event, given, make_lease


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


def spoken(message: MessageId, text: str, turn: int = 0) -> AgentMessage:
    return AgentMessage(
        id=message,
        author_id="writer",
        author_name="Writer",
        text=text,
        reasoning="hm",
        turn=turn,
        status=MessageStatus.COMPLETE,
        usage=Usage(3, 4),
    )


async def answer(db: Db, session: SessionId, run: RunId, text: str, turn: int = 0) -> MessageId:
    """Also in a session in which that run is not live."""
    message = MessageId(new_id())
    [logged] = await log.append(db, session, [event(run=run)])
    await db.execute(
        sql("""
            INSERT INTO messages (id, session_id, seq, run_id, author_kind, author_id, author_name, text, turn, status,
                                  created_at)
            VALUES (CAST(:id AS uuid), CAST(:session AS uuid), :seq, CAST(:run AS uuid), 'agent', 'writer', 'Writer',
                    :text, :turn, 'complete', :at)
        """),
        {"id": message, "session": session, "seq": logged.seq, "run": run, "text": text, "turn": turn, "at": logged.ts},
    )
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
        one, nowhere = Lease(run, session, 1), Lease(RunId(new_id()), SessionId(new_id()), 2)
        begins = await pending.given(db, [(one, asked), (nowhere, asked)])
        assert begins[one] == Given(None, False, "Hello ✨", alice, "Alice", tuple(await given(db, session, run)))
        assert [m.message for m in begins[one].pending] == [asked, told]
        assert begins[nowhere] == Given(None, False, "", None, "", ())
    assert (first.id, first.seq, first.run, first.text, first.status) == (asked, 1, None, "Hello ✨", "complete")
    assert first.author == {"kind": "user", "id": alice, "name": "Alice"}
    assert (second.id, second.seq, second.run, second.text, second.status) == (told, 2, run, "t0.0 t0.1 ", "complete")
    assert second.author == {"kind": "agent", "name": "writer", "display_name": "Writer"}
    assert [first.created_at, second.created_at] == [e.ts for e in events]


async def test_what_agents_say_is_in_log_and_transcript_at_one_place(
    store: Store, session: SessionId, alice: UserId
) -> None:
    """A statement of its own; under an old lease it writes nothing."""
    lease = await make_lease(store, session, alice)
    said = [spoken(MessageId(new_id()), words) for words in ("one", "two")]
    events = [event(n, lease.run) for n in range(4)]
    async with store.statements() as db:
        await log.append(db, session, [event()])
        with pytest.raises(LeaseLost):
            await messages.say(db, replace(lease, epoch=lease.epoch - 1), said, events, early=1)
    async with store.statements() as db:
        with pytest.raises(NotFound):
            await messages.say(db, replace(lease, session=SessionId(new_id())), said, events, early=1)
    async with store.statements() as db:
        logged = await messages.say(db, lease, said, events, early=1)
        assert [e.seq for e in logged] == [2, 3, 4, 5]
        assert (await log.read(db, session, after=1, limit=9)) == logged
        told = await messages.transcript(db, session, after_seq=0, limit=9)
        assert [(m.id, m.seq, m.text, m.run) for m in told] == [
            (said[0].id, 3, "one", lease.run),
            (said[1].id, 4, "two", lease.run),
        ]
        assert {m.created_at for m in told} == {logged[0].ts}
        assert [m.message for m in await given(db, session, lease.run)] == [said[0].id, said[1].id]
        assert await messages.say(db, lease, [], [event()]) == await log.read(db, session, after=5, limit=1)


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
