"""Sending: acknowledged means durable, once, in order, on any worker."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Literal, TypeAlias

import httpx2
import pytest

from hub.domain.ids import OrganisationId, UserId
from hub.domain.organisation import FIRST_ORGANISATION
from hub.store import caps
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs

Ask: TypeAlias = Callable[[], Coroutine[None, None, httpx2.Response]]

WAITING = """
    SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()
"""


async def room_for(person: Person, team: str = "scripted", **fields: object) -> str:
    session: str = (await person.ask("session.create", team=team, **fields))["id"]
    await person.ask("session.join", session=session, after_seq=0)
    return session


async def test_the_same_client_id_gives_the_same_answer_on_any_worker(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await one.person("ada") as here, await two.enter(here.token) as there:
        session = await room_for(here)
        first = await here.say(session, "hello", client_id="k")
        again = await asyncio.gather(*(p.say(session, "hello", client_id="k") for p in (here, there) for _ in range(5)))
        assert all(answer == first for answer in again)
        with pytest.raises(Refused) as refused:
            await there.say(session, "something else", client_id="k")
        assert refused.value.code == "idempotency_conflict"
        await here.expect("run.finished")
        async with one.rest(here.token) as rest:
            log = (await rest.get(f"/v1/sessions/{session}/events", params={"after_seq": 0})).json()["items"]
        assert [e["type"] for e in log].count("message.created") == 1


async def test_racing_sends_of_one_client_id_make_one_message(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await one.person("ada") as here, await two.enter(here.token) as there:
        session = await room_for(here)
        answers = await asyncio.gather(*(p.say(session, "x", client_id="race") for p in (here, there) * 8))
        assert len({(a["seq"], a["message"], a["run"]) for a in answers}) == 1


async def test_messages_queue_and_are_answered_one_after_the_other(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        sent = [await ada.say(session, f"/script turns=1 tokens={n}") for n in (3, 4, 5)]
        frames: list[dict[str, object]] = []
        for _ in sent:
            frames += await ada.until("run.finished")
        finished = [f["data"]["input_seq"] for f in frames if f["type"] == "run.finished"]  # type: ignore[index]
        assert finished == [s["seq"] for s in sent]
        assert seqs(frames) == list(range(1, len(seqs(frames)) + 1))


async def test_a_busy_session_can_reject(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, on_busy="reject")
        await ada.say(session, "/script turns=1 tokens=1000 rate=100")
        await ada.expect("message.delta", index=0)
        with pytest.raises(Refused) as refused:
            await ada.say(session, "hello")
        assert (refused.value.code, refused.value.error["retryable"]) == ("busy", True)
        await ada.ask("run.cancel", session=session)
        await ada.expect("run.finished", status="cancelled")
        await ada.say(session, "hello")
        await ada.expect("run.finished", status="completed")


async def test_a_message_can_interrupt_and_the_partial_text_is_kept(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        await ada.say(session, "/script turns=1 tokens=1000 rate=100")
        await ada.expect("message.delta", index=3)
        await ada.say(session, "/script history", on_busy="interrupt")
        partial = await ada.expect("message.completed", status="interrupted")
        assert partial["data"]["text"].startswith("t0.0 t0.1 t0.2 t0.3 ")
        stopped = await ada.expect("run.finished", status="cancelled")
        assert stopped["data"]["reason"] == "interrupted"
        told = await ada.expect("message.completed", status="complete")
        assert "alpha:t0.0 t0.1 t0.2 t0.3 " in told["data"]["text"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"session": "nonsense"}, "not_found"),
        ({"session": "0190b5a0-0000-7000-8000-000000000000"}, "not_found"),
        ({"to": "nobody"}, "bad_request"),
        ({"text": "x" * 32_001}, "bad_request"),
        ({"text": ""}, "bad_request"),
        ({"text": "a\0b"}, "bad_request"),
        ({"text": 7}, "bad_request"),
        ({"on_busy": "panic"}, "bad_request"),
        ({"colour": "red"}, "bad_request"),
    ],
)
async def test_bad_sends_get_a_code_and_the_connection_lives(hub: Door, fields: dict[str, object], code: str) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        with pytest.raises(Refused) as refused:
            await ada.ask("message.send", **{"session": session, "text": "hi", "client_id": "c", **fields})
        assert refused.value.code == code
        assert (await ada.ask("ping"))["time"]


async def test_a_foreign_session_is_as_unknown_as_none(hub: Door) -> None:
    async with await hub.person() as ada, await hub.person() as eve:
        session = await room_for(ada)
        for ask in (
            eve.say(session, "hi"),
            eve.ask("session.join", session=session),
            eve.ask("run.cancel", session=session),
            eve.ask("presence.set", session=session, status="typing"),
        ):
            with pytest.raises(Refused) as refused:
                await ask
            assert refused.value.code == "not_found"


async def test_the_addressed_agent_answers(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        await ada.say(session, "hello there", to="beta")
        frames = await ada.until("run.finished")
        said = [f["data"]["author"]["name"] for f in frames if f["type"] == "message.completed"]
        assert said == ["beta"]


async def test_a_user_has_so_many_sessions_and_open_runs_and_others_have_their_own(dsn: str, redis_url: str) -> None:
    long = "/script turns=1 tokens=1000 rate=50"
    async with (
        running_worker(settings_for(dsn, redis_url, sessions_per_user=3, runs_per_user=2)) as door,
        await door.person("ada") as ada,
        await door.person("bob") as bob,
        door.rest(ada.token) as rest,
    ):
        first, second, third = [await room_for(ada) for _ in range(3)]
        for way in (ada.ask("session.create", team="scripted"), ada.ask("session.fork", session=first, at_seq=2)):
            with pytest.raises(Refused) as refused:
                await way
            assert (refused.value.code, refused.value.error["details"]) == ("conflict", {"limit": 3})
        assert (await rest.delete(f"/v1/sessions/{third}")).status_code == 204
        third = await room_for(ada)  # what is deleted does not count

        run = (await ada.say(first, long, client_id="one"))["run"]
        await ada.say(second, long)
        with pytest.raises(Refused) as refused:
            await ada.say(third, "hello")
        assert (refused.value.code, refused.value.error["details"]) == ("rate_limited", {"limit": 2})
        assert refused.value.error["retry_after"] > 0
        assert (await ada.say(first, long, client_id="one"))["run"] == run  # it is there already
        await bob.say(await room_for(bob), "hello")
        await bob.expect("run.finished")
        await ada.ask("run.cancel", session=first)
        await ada.expect("run.finished")
        await ada.say(third, "hello")


async def test_who_comes_at_once_at_several_workers_gets_no_more_than_may_be(
    dsn: str, redis_url: str, store: Store
) -> None:
    settings = settings_for(
        dsn, redis_url, sessions_per_user=6, sessions_per_organisation=9, runs_per_user=2, runs_per_organisation=3
    )
    text = "/script turns=1 tokens=1000 rate=50"
    async with (
        running_worker(settings, "test:1:a") as one,
        running_worker(settings, "test:2:b") as two,
        await one.person("ada") as ada,
        await one.person("bob") as bob,
        await one.person("cyd") as cyd,
        AsyncExitStack() as stack,
    ):
        adas, bobs, cyds = [
            [await stack.enter_async_context(door.rest(person.token)) for door in (one, two)]
            for person in (ada, bob, cyd)
        ]

        def opening(rest: httpx2.AsyncClient) -> Ask:
            return lambda: rest.post("/v1/sessions", json={"team": "scripted"})

        def saying(rest: httpx2.AsyncClient, session: str) -> Ask:
            return lambda: rest.post(f"/v1/sessions/{session}/messages", json={"text": text})

        rooms = [await room_for(ada) for _ in range(5)]
        user: UserId = ada.hello["user"]["id"]
        made = await meeting(store, "sessions", user, *map(opening, adas))
        assert sorted(answer.status_code for answer in made) == [201, 409]
        await ada.say(rooms[0], text)
        sent = await meeting(store, "runs", user, saying(adas[0], rooms[1]), saying(adas[1], rooms[2]))
        assert sorted(answer.status_code for answer in sent) == [201, 429]
        assert {answer.json()["details"]["limit"] for answer in sent if answer.status_code == 429} == {2}

        theirs, others = await room_for(bob), await room_for(cyd)
        made = await meeting(store, "sessions", FIRST_ORGANISATION, opening(bobs[0]), opening(cyds[1]))
        assert sorted(answer.status_code for answer in made) == [201, 409]
        for way in (bob.ask("session.create", team="scripted"), bob.ask("session.fork", session=theirs, at_seq=2)):
            with pytest.raises(Refused, match="the organisation has too many sessions") as full:
                await way
            assert (full.value.code, full.value.error["details"]) == ("conflict", {"limit": 9})
        sent = await meeting(store, "runs", FIRST_ORGANISATION, saying(bobs[1], theirs), saying(cyds[0], others))
        assert sorted(answer.status_code for answer in sent) == [201, 429]
        ways = [(sent[0], bob, bobs[0], theirs), (sent[1], cyd, cyds[0], others)]
        (refused, *_, other), (said, person, rest, room) = sorted(ways, key=lambda way: way[0].is_success)
        assert (refused.json()["code"], refused.json()["details"]) == ("rate_limited", {"limit": 3})
        assert "organisation" in refused.json()["detail"]
        # An edit ends the run that it replaces: there is room for the new one.
        edited = await rest.patch(f"/v1/sessions/{room}/messages/{said.json()['message']}", json={"text": text})
        assert edited.status_code == 200, edited.text
        # One that ends none adds one.
        await person.ask("run.cancel", session=room)
        await person.until("run.finished", reason="cancelled")
        await (cyd if person is bob else bob).say(other, text)
        message = (await rest.get(f"/v1/sessions/{room}/transcript")).json()["messages"][0]["message"]
        edited = await rest.patch(f"/v1/sessions/{room}/messages/{message}", json={"text": text})
        assert (edited.status_code, edited.json()["details"]) == (429, {"limit": 3})


async def meeting(
    store: Store, what: Literal["sessions", "runs"], whose: UserId | OrganisationId, *asks: Ask
) -> list[httpx2.Response]:
    """What is answered to those who all wait for the lock of a cap before any of them has it."""
    while True:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks, store.transaction() as db:
            await caps.lock(db, what, whose)
            asking = [tasks.create_task(ask()) for ask in asks]
            early = list[int]()
            while len(early) < len(asks) and (early or await db.connection.fetchval(WAITING) < len(asks)):
                await asyncio.sleep(0.01)
                early = [task.result().status_code for task in asking if task.done()]
                assert set(early) <= {503}, "somebody does not wait for who counts"
        answers = [task.result() for task in asking]
        if all(answer.status_code != 503 for answer in answers):  # else all have, for one of them was late
            return answers
