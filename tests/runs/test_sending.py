"""Sending: acknowledged means durable, once, in order, on any worker."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs


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


async def test_who_comes_at_once_at_several_workers_gets_no_more_than_may_be(dsn: str, redis_url: str) -> None:
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
        adas, bobs = [
            [await stack.enter_async_context(door.rest(person.token)) for door in (one, two)] for person in (ada, bob)
        ]
        made = await asyncio.gather(*(rest.post("/v1/sessions", json={"team": "scripted"}) for rest in adas * 6))
        assert sorted(answer.status_code for answer in made) == [201] * 6 + [409] * 6
        rooms = [answer.json()["id"] for answer in made if answer.status_code == 201]
        sent = await asyncio.gather(
            *(adas[n % 2].post(f"/v1/sessions/{room}/messages", json={"text": text}) for n, room in enumerate(rooms))
        )
        assert sorted(answer.status_code for answer in sent) == [201] * 2 + [429] * 4
        assert {answer.json()["details"]["limit"] for answer in sent if answer.status_code == 429} == {2}
        theirs = [await room_for(bob) for _ in bobs]
        others = [await stack.enter_async_context(door.rest(cyd.token)) for door in (one, two)]
        made = await asyncio.gather(
            *(rest.post("/v1/sessions", json={"team": "scripted"}) for rest in (bobs[0], others[1], bobs[1], others[0]))
        )
        assert sorted(answer.status_code for answer in made) == [201] + [409] * 3
        for way in (bob.ask("session.create", team="scripted"), bob.ask("session.fork", session=theirs[0], at_seq=2)):
            with pytest.raises(Refused, match="the organisation has too many sessions") as full:
                await way
            assert (full.value.code, full.value.error["details"]) == ("conflict", {"limit": 9})
        asks = zip(bobs, theirs, strict=True)
        sent = await asyncio.gather(*(rest.post(f"/v1/sessions/{s}/messages", json={"text": text}) for rest, s in asks))
        assert sorted(answer.status_code for answer in sent) == [201, 429]
        room, said, refused = (
            (theirs[0], sent[0].json(), sent[1].json())
            if sent[0].is_success
            else (theirs[1], sent[1].json(), sent[0].json())
        )
        assert (refused["code"], refused["details"]) == ("rate_limited", {"limit": 3})
        assert "organisation" in refused["detail"]
        # An edit ends the run that it replaces: there is room for the new one.
        edited = await bobs[0].patch(f"/v1/sessions/{room}/messages/{said['message']}", json={"text": text})
        assert edited.status_code == 200, edited.text
        # One that ends none adds one.
        await bob.ask("run.cancel", session=room)
        await bob.until("run.finished", reason="cancelled")
        other = theirs[1 - theirs.index(room)]
        assert (await bobs[1].post(f"/v1/sessions/{other}/messages", json={"text": text})).status_code == 201
        message = (await bobs[0].get(f"/v1/sessions/{room}/transcript")).json()["messages"][0]["message"]
        edited = await bobs[0].patch(f"/v1/sessions/{room}/messages/{message}", json={"text": text})
        assert (edited.status_code, edited.json()["details"]) == (429, {"limit": 3})
