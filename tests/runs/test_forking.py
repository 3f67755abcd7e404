"""Forks: at every place of a session, with exactly what counted there."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from hub.store import forking
from hub.store.database import Store
from hub.store.pending import RETOLD
from tests.driver import Door, Person, Refused, seqs
from tests.runs.conversation import Frame, finish, known, log_of, transcript
from tests.runs.test_cutting import edited, exchange, fill, said
from tests.runs.test_sending import room_for

AT_ONCE = 6  # forks of a session that are asked what they know


async def forked(person: Person, session: str, at_seq: int) -> Frame:
    return await person.ask("session.fork", session=session, at_seq=at_seq)


def counting(log: Sequence[Frame], at_seq: int) -> list[Frame]:
    """The messages that count at a place of the log, as a client has them that has followed."""
    messages: dict[str, Frame] = {}
    for event in log[:at_seq]:
        match event["type"]:
            case "message.created" | "message.completed":
                messages[event["data"]["message"]] = event["data"]
            case "message.redacted":
                del messages[event["data"]["message"]]
            case "turn.superseded":
                for message in event["data"]["messages"]:
                    messages.pop(message, None)
    return list(messages.values())


def line(message: Frame) -> str:
    return f"{message['author']['name']}:{message['text'][:20]}"


async def rich(person: Person, team: str) -> str:
    """A session in which everything has happened that makes agents know, forget and hear again."""
    session = await room_for(person, team)
    await exchange(person, session, "hello")
    sent = await person.say(session, "/script turns=2 tokens=30 rate=30")
    await person.expect("message.delta", turn=0, index=1)
    await person.say(session, "steering", on_busy="steer")
    await person.say(session, "/script turns=1 tokens=3 tool=clock")
    await finish(person, sent["run"])
    await person.expect("run.finished")
    await exchange(person, session, "/script turns=2 tokens=9 fail_at=4")
    sent = await person.say(session, "/script turns=1 tokens=500 rate=100")
    await person.expect("message.delta", turn=0, index=1)
    await person.ask("run.cancel", session=session)
    await finish(person, sent["run"])
    first = await exchange(person, session, "first words")
    answer = await edited(person, session, first["message"], "other words")
    await finish(person, answer["run"])
    sent = await person.say(session, "/script turns=1 tokens=2 tool=transfer")
    request = (await person.expect("input.requested"))["data"]["request"]
    await person.ask("input.respond", session=session, request=request, decision="approve")
    await finish(person, sent["run"])
    again = await person.ask("message.regenerate", session=session, message=sent["message"])
    request = (await person.expect("input.requested"))["data"]["request"]
    await person.ask("input.respond", session=session, request=request, decision="reject")
    await finish(person, again["run"])
    return session


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_at_every_place_the_agents_know_what_counted_there(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await rich(ada, team)
        log = await log_of(hub, ada, session)
        places = asyncio.Queue[int]()
        for seq in range(1, len(log) + 1):
            places.put_nowait(seq)

        async def check() -> None:
            async with await hub.enter(ada.token) as person:
                while not places.empty():
                    at_seq = places.get_nowait()
                    await check_fork(hub, person, session, at_seq, counting(log, at_seq))

        await asyncio.gather(*(check() for _ in range(AT_ONCE)))
        assert await log_of(hub, ada, session) == log, "a fork changes nothing in its source"


async def check_fork(hub: Door, person: Person, session: str, at_seq: int, expected: list[Frame]) -> None:
    made = await forked(person, session, at_seq)
    await person.ask("session.join", session=made["id"], after_seq=0)
    assert made["last_seq"] == 2 + len(expected)
    told = await transcript(hub, person, made["id"])
    assert [(m["author"], m["text"]) for m in told] == [(m["author"], m["text"]) for m in expected], at_seq
    assert not {m["message"] for m in told} & {m["message"] for m in expected}
    assert [m["seq"] for m in told] == list(range(3, 3 + len(expected)))
    lines = await known(person, made["id"])
    assert sorted(lines) == sorted(line(m) for m in expected if m.get("status") != "failed"), at_seq
    await person.ask("session.leave", session=made["id"])


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_a_fork_is_a_session_like_any_other(hub: Door, team: str) -> None:
    """It goes on, is edited, regenerated and forked itself; the order of what was heard stays."""
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team, title="plans", metadata={"k": [1]}, on_busy="reject")
        for n in range(4):
            await exchange(ada, session, f"message {n}")
        log = await log_of(hub, ada, session)
        at_seq = [e["seq"] for e in log if e["type"] == "run.finished"][2]
        made = await forked(ada, session, at_seq)
        assert made["forked_from"] == {"session": session, "at_seq": at_seq}
        shown = ("title", "team", "metadata", "on_busy", "role", "status")
        assert [made[name] for name in shown] == ["plans", team, {"k": [1]}, "reject", "owner", "idle"]
        fork = made["id"]
        await ada.ask("session.join", session=fork, after_seq=0)
        copies = await log_of(hub, ada, fork)
        assert [e["type"] for e in copies[:2]] == ["session.created", "member.added"]
        assert copies[0]["data"]["forked_from"] == made["forked_from"]
        assert all("run" not in e for e in copies)
        told = [f"{who}:message {n}" for n in range(3) for who in ("ada", "alpha", "beta")]
        assert await said(hub, ada, fork) == told
        messages = await transcript(hub, ada, fork)

        early = await forked(ada, fork, messages[1]["seq"])  # the fork's checkpoint knows what came later
        await ada.ask("session.join", session=early["id"], after_seq=0)
        assert await known(ada, early["id"]) == told[:2]

        answer = await ada.ask("message.regenerate", session=fork, message=messages[8]["message"])
        await finish(ada, answer["run"])
        assert await said(hub, ada, fork) == told
        second = await forked(ada, fork, (await log_of(hub, ada, fork))[-1]["seq"])
        await ada.ask("session.join", session=second["id"], after_seq=0)
        copied = await transcript(hub, ada, second["id"])
        answer = await edited(ada, second["id"], copied[3]["message"], "changed")
        await finish(ada, answer["run"])
        assert await known(ada, second["id"]) == told[:3] + [f"{who}:changed" for who in ("ada", "alpha", "beta")]
        third = await forked(ada, second["id"], copied[1]["seq"])
        await ada.ask("session.join", session=third["id"], after_seq=0)
        assert await known(ada, third["id"]) == told[:2]

        answer = await edited(ada, fork, messages[0]["message"], "from the start")
        await finish(ada, answer["run"])
        assert await known(ada, fork) == [f"{who}:from the start" for who in ("ada", "alpha", "beta")]
        everything = [f"{who}:message {n}" for n in range(4) for who in ("ada", "alpha", "beta")]
        assert await known(ada, session) == everything


async def test_a_fork_from_before_an_edit_holds_what_was_edited(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, "scripted-autogen")
        sent = [await exchange(ada, session, f"message {n}") for n in range(3)]
        before = len(await log_of(hub, ada, session))
        await finish(ada, (await edited(ada, session, sent[1]["message"], "changed"))["run"])
        made = await forked(ada, session, before)
        await ada.ask("session.join", session=made["id"])
        everything = [f"{who}:message {n}" for n in range(3) for who in ("ada", "alpha", "beta")]
        assert await known(ada, made["id"]) == everything


async def test_the_order_in_which_agents_heard_it_stays(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada)
        await ada.say(session, "/script turns=2 tokens=30 rate=20")
        await ada.say(session, "/script turns=1 tokens=1 seed=1")
        await ada.expect("message.delta", turn=0, index=2)
        await ada.say(session, "steering", on_busy="steer")
        await ada.expect("run.finished")
        await ada.expect("run.finished")
        end = len(await log_of(hub, ada, session))
        made = await forked(ada, session, end)
        await ada.ask("session.join", session=made["id"])
        for n in range(4):  # the copied checkpoint is gone then
            last = await exchange(ada, made["id"], f"more {n}")
        told = await transcript(hub, ada, made["id"])
        await finish(ada, (await edited(ada, made["id"], last["message"], "x"))["run"])
        first_more = next(m["message"] for m in told if m["text"] == "more 0")
        await finish(ada, (await edited(ada, made["id"], first_more, "y"))["run"])
        heard = [line.split(":")[1][:5] for line in await known(ada, made["id"])]
        assert heard == ["/scri", "t0.0 ", "steer", "t1.0 ", "/scri", "t0.0 ", "y", "y", "y"]


async def test_who_may_not_fork_is_told_so(hub: Door) -> None:
    async with await hub.person("ada") as ada, await hub.person("viv") as viv, await hub.person("eve") as eve:
        session = await room_for(ada)
        async with hub.rest(ada.token) as rest:
            assert (await rest.put(f"/v1/sessions/{session}/members/viv", json={"role": "viewer"})).status_code == 200
        for person, at_seq, code in (
            (viv, 1, "forbidden"),
            (eve, 1, "not_found"),
            (ada, 99, "bad_request"),
            (ada, 0, "bad_request"),
        ):
            with pytest.raises(Refused) as refused:
                await forked(person, session, at_seq)
            assert refused.value.code == code
        assert refused.value.error["details"]
        async with hub.rest(ada.token) as rest:
            made = await rest.post(f"/v1/sessions/{session}/fork", json={"at_seq": 2})
            assert made.status_code == 201, made.text
            fork = made.json()["id"]
            members = (await rest.get(f"/v1/sessions/{fork}/members")).json()["items"]
            assert [(m["name"], m["role"]) for m in members] == [("ada", "owner")]
            assert (await rest.get(f"/v1/sessions/{fork}")).json()["forked_from"] == {"session": session, "at_seq": 2}
        with pytest.raises(Refused) as refused:
            await viv.ask("session.join", session=fork)
        assert refused.value.code == "not_found"


async def test_a_large_session_is_copied_in_steps_and_seen_when_it_is_whole(hub: Door, store: Store) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        await exchange(ada, session, "first")
        await fill(store, session, 2 * forking.BATCH)
        sent = await exchange(ada, session, "last")
        making = asyncio.create_task(forked(ada, session, sent["seq"] + 1))
        seen: list[dict[str, Any]] = []
        while not making.done():
            listed = (await rest.get("/v1/sessions")).json()["items"]
            seen += [s for s in listed if s["id"] != session]
        made = await making
        assert {s["last_seq"] for s in seen} <= {made["last_seq"]}
        assert made["last_seq"] == 2 + 3 + 2 * forking.BATCH + 1
        await ada.ask("session.join", session=made["id"])
        lines = await known(ada, made["id"])
        assert lines[-1] == "ada:last"
        assert lines[-2] == f"ada:filled {2 * forking.BATCH}"
        assert len(lines) == RETOLD
        copies = await log_of(hub, ada, made["id"])
        assert seqs(copies) == list(range(1, len(copies) + 1))
