"""What a team has not taken in yet, and what an attempt that was cut off has left behind."""

from typing import Any

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId, UserId, new_id
from hub.protocol.durable import DurableData, ToolCalledData, ToolReturnedData, TurnStartedData, TurnSupersededData
from hub.protocol.frames import NewEvent
from hub.store import log, messages, pending, runs, turns
from hub.store.database import Db, Store
from hub.store.turns import UnfinishedTurn
from tests.store.conftest import enqueue, given, make_lease
from tests.store.test_messages import answer, say
from tests.store.test_runs import DONE


async def take_in(db: Db, *taken: MessageId) -> None:
    await db.execute(text("UPDATE messages SET in_state = true WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": taken})


async def test_a_run_is_given_its_own_input_and_what_nobody_else_will_take(
    store: Store, session: SessionId, alice: UserId
) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        queued = await enqueue(db, session, alice, 2)
        own = await say(db, session, alice, "own", client_id="1", run=lease.run)
        others = await say(db, session, alice, "for the next run", client_id="2", run=queued)
        aside = await say(db, session, alice, "for nobody", client_id="3")
        spoken = await answer(db, session, lease.run, "words")
        next_turn = await given(db, session, lease.run)
        assert [(m.message, m.seq, m.is_agent, m.author_id, m.author_name, m.text) for m in next_turn] == [
            (own, 1, False, alice, "Alice", "own"),
            (aside, 3, False, alice, "Alice", "for nobody"),
            (spoken, 4, True, "writer", "Writer", "words"),
        ]
        await take_in(db, own, aside)
        assert [m.message for m in await given(db, session, lease.run)] == [spoken]
        # The next run finds its own message, and what a run that has ended did not take in.
        await runs.finish(db, lease, DONE)
        await runs.finish_idle(db, queued, "cancelled")
        assert [m.message for m in await given(db, session, RunId(new_id()))] == [others, spoken]


async def test_only_the_unfinished_turn_is_void(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        done = await answer(db, session, lease.run, "turn 0", turn=0)
        await take_in(db, done)
        cut = await answer(db, session, lease.run, "turn 1", turn=1)
        assert await pending.of_turn(db, session, lease.run, 0) == []
        assert await pending.of_turn(db, session, lease.run, 1) == [cut]
        await messages.void(db, session, [(cut, 3)])
        assert await pending.of_turn(db, session, lease.run, 1) == []
        assert await given(db, session, lease.run) == []


def started(turn: int, attempt: int = 1) -> DurableData:
    return TurnStartedData(turn=turn, agent="writer", attempt=attempt)


def called(call: str, **arguments: Any) -> DurableData:
    return ToolCalledData(call=call, agent="writer", name=f"tool-{call}", arguments=arguments, turn=0)


def returned(call: str, result: str = "ok") -> DurableData:
    return ToolReturnedData(call=call, name=f"tool-{call}", result=result, is_error=False)


async def left(store: Store, session: SessionId, *events: DurableData, turn: int = 0) -> UnfinishedTurn | None:
    run = RunId(new_id())
    async with store.transaction() as db:
        await log.append(db, session, [NewEvent(data, run) for data in events])
        await log.append(db, session, [NewEvent(started(7), RunId(new_id()))])  # of another run
        return await turns.unfinished(db, session, run, turn)


async def test_unfinished_turns(store: Store, session: SessionId) -> None:
    void = TurnSupersededData(turn=0, attempt=1, messages=[], reason="lost")
    assert await left(store, session, called("a")) is None
    assert await left(store, session, started(0)) == UnfinishedTurn(0, 1, ())
    assert await left(store, session, started(0), turn=1) is None  # turn 0 is checkpointed
    assert await left(store, session, started(0), void) is None
    assert await left(store, session, started(0), void, started(0, 2)) == UnfinishedTurn(0, 2, ())
    assert await left(store, session, called("old"), started(0), called("a"), returned("a"), called("b")) == (
        UnfinishedTurn(0, 1, ("tool-b",))
    )


async def test_nul_characters_of_a_tool_do_not_stop_a_takeover(store: Store, session: SessionId) -> None:
    events = [started(0), called("a", path="\x00"), returned("a", "\x00"), called("b")]
    assert await left(store, session, *events) == UnfinishedTurn(0, 1, ("tool-b",))
