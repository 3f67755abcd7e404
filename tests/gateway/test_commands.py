"""Commands and replies over a real socket: each is answered once, and no bad one ends the connection."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from hub.gateway.connection import MAX_BAD_FRAMES, MAX_REFUSED
from tests.conftest import running_worker, settings_for
from tests.driver import DEADLINE_S, Door, Frame, Person, Refused, seqs, streamed


async def session_of(person: Person) -> str:
    """A new session with the scripted team, which the person follows."""
    made = await person.ask("session.create", team="scripted")
    await person.ask("session.join", session=made["id"], after_seq=0)
    id_: str = made["id"]
    return id_


async def error_of(person: Person, type_: str, **fields: Any) -> Frame:
    with pytest.raises(Refused) as caught:
        await person.ask(type_, **fields)
    return caught.value.error


async def reply_to(person: Person, raw: str | bytes) -> Frame:
    """Send this frame; the next reply."""
    await person.socket.send(raw)
    while (frame := await person.next_frame("a reply"))["type"] != "reply":
        pass
    return frame


async def test_the_straight_line(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        assert (await ada.ask("ping"))["time"].endswith("Z")
        made = await ada.ask("session.create", team="scripted", title="Engines", metadata={"a": [1, {"b": None}]})
        assert (made["title"], made["role"], made["status"]) == ("Engines", "owner", "idle")
        assert made["metadata"] == {"a": [1, {"b": None}]}
        joined = await ada.ask("session.join", session=made["id"], after_seq=0)
        assert joined["session"] == made["id"]
        assert (joined["role"], joined["replay_from"]) == ("owner", 1)
        assert joined["last_seq"] == made["last_seq"]
        assert [p["name"] for p in joined["presence"]] == ["ada"]
        sent = await ada.say(made["id"], "/script turns=2 tokens=5 rate=100")
        frames = await ada.until("run.finished")
    numbers = seqs(frames)
    assert numbers == list(range(1, numbers[-1] + 1))
    assert frames[-1]["data"]["status"] == "completed"
    assert frames[-1]["run"] == sent["run"]
    completed = [f for f in frames if f["type"] == "message.completed"]
    assert [f["data"]["text"] for f in completed] == ["t0.0 t0.1 t0.2 t0.3 t0.4 ", "t1.0 t1.1 t1.2 t1.3 t1.4 "]
    for f in completed:
        assert f["data"]["text"].startswith(streamed(frames, f["data"]["message"]))


async def test_the_reply_to_a_join_comes_before_the_replay(hub: Door) -> None:
    async with await hub.person() as person:
        made = await person.ask("session.create", team="scripted")
        person.seen.clear()
        await person.ask("session.join", session=made["id"], after_seq=0)
        await person.expect("member.added")
        assert [f["type"] for f in person.seen if f["type"] != "presence.changed"] == [
            "reply",
            "session.created",
            "member.added",
        ]


async def test_joining_again_replays_again_and_leaving_ends_it(hub: Door) -> None:
    async with await hub.person() as person:
        session = await session_of(person)
        assert seqs(await person.until("member.added")) == [1, 2]
        assert (await person.ask("session.join", session=session, after_seq=1))["replay_from"] == 2
        assert seqs(await person.until("member.added")) == [2]
        assert await person.ask("session.leave", session=session) == {}
        await person.say(session, "/script turns=1 tokens=1")
        assert (await error_of(person, "session.leave", session=session))["code"] == "not_found"
        await person.ask("session.join", session=session, after_seq=2)
        frames = await person.until("run.finished")
        assert seqs(frames) == list(range(3, frames[-1]["seq"] + 1))


async def test_a_position_in_the_future_is_refused_and_following_goes_on(hub: Door) -> None:
    async with await hub.person() as person:
        session = await session_of(person)
        await person.until("member.added")
        error = await error_of(person, "session.join", session=session, after_seq=1_000)
        assert (error["code"], error["details"]) == ("bad_request", {"last_seq": 2})
        await person.say(session, "/script turns=1 tokens=1")
        await person.until("run.finished")


async def test_the_same_client_id_gives_the_same_answer(hub: Door) -> None:
    async with await hub.person() as person:
        session = await session_of(person)
        key = uuid.uuid4().hex
        first = await person.say(session, "/script turns=1 tokens=1", client_id=key)
        assert await person.say(session, "/script turns=1 tokens=1", client_id=key) == first
        error = await error_of(person, "message.send", session=session, text="other", client_id=key)
        assert error["code"] == "idempotency_conflict"
        parts = [{"type": "text", "text": "/script turns=1"}, {"type": "text", "text": "tokens=1"}]
        await person.ask("message.send", session=session, parts=parts, client_id=uuid.uuid4().hex)


async def test_a_run_is_stopped(hub: Door) -> None:
    async with await hub.person() as person:
        session = await session_of(person)
        sent = await person.say(session, "/script turns=1 tokens=100000 rate=50")
        await person.expect("message.delta")
        assert (await person.ask("run.cancel", session=session))["run"] == sent["run"]
        assert (await person.expect("run.finished"))["data"]["status"] == "cancelled"
        assert (await error_of(person, "run.cancel", session=session))["code"] == "not_found"


async def test_presence_is_told_and_left(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = await session_of(ada)
        await ada.expect("presence.changed", name="ada", status="active")
        bob_token = await hub.register("bob")
        async with hub.rest(ada.token) as rest:
            put = await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "viewer"})
            assert put.status_code in (200, 201), put.text
        async with await hub.enter(bob_token) as bob:
            error = await error_of(bob, "presence.set", session=session, status="typing")
            assert error["code"] == "bad_request"
            joined = await bob.ask("session.join", session=session)
            assert [p["name"] for p in joined["presence"]] == ["ada", "bob"]
            assert await bob.ask("presence.set", session=session, status="typing") == {}
            await ada.expect("presence.changed", name="bob", status="typing")
            error = await error_of(bob, "message.send", session=session, text="x", client_id="c")
            assert error["code"] == "forbidden"
        gone = await ada.expect("presence.changed", name="bob", status="offline")
        assert gone["data"]["connections"] == 0


async def test_sessions_of_others_look_like_sessions_that_are_not_there(hub: Door) -> None:
    async with await hub.person() as owner, await hub.person() as stranger:
        foreign = await session_of(owner)
        commands: list[tuple[str, dict[str, Any]]] = [
            ("session.join", {}),
            ("session.join", {"after_seq": 10**6}),
            ("session.leave", {}),
            ("message.send", {"text": "x", "client_id": "c"}),
            ("run.cancel", {}),
            ("run.cancel", {"run": str(uuid.uuid4())}),
            ("presence.set", {"status": "idle"}),
        ]
        for type_, fields in commands:
            errors = [
                await error_of(stranger, type_, session=session, **fields)
                for session in (foreign, str(uuid.uuid4()), "no-id-at-all")
            ]
            assert errors[0]["code"] == "not_found", type_
            assert errors[0] == errors[1] == errors[2], type_
        await stranger.ask("ping")


async def test_bad_frames_are_answered_and_the_connection_lives(hub: Door) -> None:
    async with await hub.person() as person:
        message = {"id": "x", "type": "message.send", "session": "s", "client_id": "c"}
        frames: list[tuple[str | bytes, str | None]] = [
            ("nonsense", None),
            ("[]", None),
            (b"binary", None),
            ('{"type":"ping"}', None),
            ('{"id":"x","type":"ping","surplus":1}', "x"),
            ('{"id":"x","type":"nope"}', "x"),
            ('{"id":"x","type":"session.join","session":5}', "x"),
            ('{"id":"x","type":"ping","id":"y"}', None),
            ("[" * 30_000, None),
            *((json.dumps({**message, "text": text}), "x") for text in ("", "a\x00", "\ud800", "a" * 32_001)),
            ('{"id":"x","type":"session.create","team":"scripted","metadata":{"a":NaN}}', None),
        ]
        for raw, id_ in frames:
            reply = await reply_to(person, raw)
            assert (reply["ok"], reply["id"], reply["error"]["code"]) == (False, id_, "bad_request"), raw
            assert reply["error"]["retryable"] is False
        error = await error_of(person, "session.create", team="no such team")
        assert error["code"] == "bad_request"
        await person.ask("ping")


async def test_too_many_bad_frames_in_a_row_end_the_connection(hub: Door) -> None:
    async with await hub.person() as person:
        for _ in range(MAX_BAD_FRAMES - 1):
            assert (await reply_to(person, "nonsense"))["error"]["code"] == "bad_request"
        await person.ask("ping")  # begins the count anew
        for _ in range(MAX_BAD_FRAMES):
            assert (await reply_to(person, "nonsense"))["error"]["code"] == "bad_request"
        assert await person.closed() == 4102


async def test_every_command_gets_exactly_one_reply_in_order(hub: Door) -> None:
    async with await hub.person() as person:
        ids = [await person.tell("ping") for _ in range(30)]
        await person.ask("ping")
        replies = [f["id"] for f in person.seen if f["type"] == "reply"]
        assert replies[: len(ids)] == ids
        assert len(replies) == len(ids) + 1


async def test_commands_over_the_rate_are_refused_with_a_time(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, commands_per_minute=60, command_burst=5)
    async with running_worker(settings) as hub, await hub.person() as person:
        began = asyncio.get_running_loop().time()
        ids = [await person.tell("ping") for _ in range(12)]
        replies: list[Frame] = []
        while len(replies) < len(ids):
            if (frame := await person.next_frame())["type"] == "reply":
                replies.append(frame)
        answered = [r for r in replies if r["ok"]]
        refused = [r for r in replies if not r["ok"]]
        assert {r["id"] for r in replies} == set(ids)
        passed = asyncio.get_running_loop().time() - began
        assert 5 <= len(answered) <= 6 + passed
        assert {r["error"]["code"] for r in refused} == {"rate_limited"}
        assert all(r["error"]["retryable"] and 0 < r["error"]["retry_after"] <= 1 for r in refused)
        async with asyncio.timeout(DEADLINE_S):
            while True:  # waiting as told is enough
                await asyncio.sleep(refused[-1]["error"]["retry_after"])
                try:
                    await person.ask("ping")
                    break
                except Refused as e:
                    refused.append({"error": e.error})


async def test_a_flood_of_commands_is_sent_away(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, commands_per_minute=60, command_burst=1)
    async with running_worker(settings) as hub, await hub.person() as person:

        async def flood() -> None:
            for _ in range(MAX_REFUSED + 50):
                await person.tell("ping")
            await person.until("the end")

        with pytest.raises(ConnectionClosed) as closed:
            await flood()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4101
        assert len(person.seen) < MAX_REFUSED + 50


async def test_one_connection_follows_a_bounded_number_of_sessions(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, sessions_per_connection=2)
    async with running_worker(settings) as hub, await hub.person() as person:
        assert person.hello["limits"]["sessions"] == 2
        first = await session_of(person)
        await session_of(person)
        third = (await person.ask("session.create", team="scripted"))["id"]
        refused = await error_of(person, "session.join", session=third)
        assert (refused["code"], refused["retry_after"]) == ("rate_limited", 5.0)
        await person.ask("session.join", session=first)  # again: it is followed already
        await person.ask("session.leave", session=first)
        await person.ask("session.join", session=third)
