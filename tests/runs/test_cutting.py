"""Edits and second answers: the conversation is cut, and the agents know exactly what is left of it."""

import asyncio
import random
from typing import Any

import pytest

from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs
from tests.runs.conversation import Frame, finish, known, log_of, transcript
from tests.runs.test_sending import room_for

TEAMS = pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])


async def exchange(person: Person, session: str, text: str, **fields: object) -> Frame:
    """Say something and wait for the answer."""
    sent = await person.say(session, text, **fields)
    await finish(person, sent["run"])
    return sent


async def edited(person: Person, session: str, message: str, text: str) -> Frame:
    return await person.ask("message.edit", session=session, message=message, text=text)


async def said(door: Door, person: Person, session: str) -> list[str]:
    """The transcript, in the form in which the agents tell what they know."""
    return [f"{m['author']['name']}:{m['text'][:20]}" for m in await transcript(door, person, session)]


async def checked(door: Door, person: Person, session: str) -> list[str]:
    """What the agents know, which is what the transcript shows, and what a client that has followed shows."""
    lines = await known(person, session)
    shown = await said(door, person, session)
    assert lines == shown[:-2], "without the question and its answer"
    log = await log_of(door, person, session)
    assert seqs(log) == list(range(1, len(log) + 1))
    counting: dict[str, str] = {}
    for event in log:
        match event["type"]:
            case "message.created" | "message.completed":
                counting[event["data"]["message"]] = event["data"]["text"]
            case "message.redacted":
                del counting[event["data"]["message"]]
            case "turn.superseded":
                for message in event["data"]["messages"]:
                    counting.pop(message, None)
    assert list(counting.values()) == [m["text"] for m in await transcript(door, person, session)]
    return lines


@TEAMS
@pytest.mark.parametrize("which", [0, 1, 5])
async def test_an_edit_cuts_and_runs_again(hub: Door, team: str, which: int) -> None:
    """The last message, whose state is kept, and early ones, whose state is not kept any more."""
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        sent = [await exchange(ada, session, f"message {n}") for n in range(6)]
        answer = await edited(ada, session, sent[which]["message"], "something else")
        frames = await finish(ada, answer["run"])
        created = next(f for f in frames if f["type"] == "message.created")
        assert (created["seq"], created["data"]["replaces"]) == (answer["seq"], sent[which]["message"])
        redacted = [f["data"] for f in frames if f["type"] == "message.redacted"]
        assert len(redacted) == 3 * (6 - which)
        assert redacted[0]["message"] == sent[which]["message"]
        assert {(r["by"]["name"], r["reason"]) for r in redacted} == {("ada", "edited")}
        before = [f"{who}:message {n}" for n in range(which) for who in ("ada", "alpha", "beta")]
        after = [f"{who}:something else" for who in ("ada", "alpha", "beta")]
        assert await checked(hub, ada, session) == before + after
        # It goes on from there, also from a checkpoint that was made after the cut.
        again = await edited(ada, session, created["data"]["message"], "third")
        await finish(ada, again["run"])
        assert await checked(hub, ada, session) == before + [f"{who}:third" for who in ("ada", "alpha", "beta")]


@TEAMS
async def test_an_edit_ends_what_runs_and_waits(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        await exchange(ada, session, "hello")
        live = await ada.say(session, "/script turns=3 tokens=30 rate=25")
        queued = [await ada.say(session, f"queued {n}") for n in range(2)]
        steering = await ada.say(session, "steering", on_busy="steer")
        await ada.expect("message.delta", turn=1, index=3)
        answer = await edited(ada, session, live["message"], "instead")
        frames = await finish(ada, answer["run"])
        ended = [f for f in frames if f["type"] == "run.finished"]
        assert [f["run"] for f in ended] == [live["run"], *(q["run"] for q in queued), answer["run"]]
        assert [f["data"]["status"] for f in ended] == ["cancelled"] * 3 + ["completed"]
        assert {f["data"]["reason"] for f in ended[:3]} == {"interrupted"}
        cut = [f["data"]["message"] for f in frames if f["type"] == "message.redacted"]
        assert cut[0] == live["message"]
        assert {*cut} >= {q["message"] for q in queued} | {steering["message"]}
        late = frames[frames.index(ended[0]) :]
        assert not [f for f in late if f["type"] == "message.delta" and f["run"] == live["run"]]
        assert await checked(hub, ada, session) == [
            *(f"{who}:hello" for who in ("ada", "alpha", "beta")),
            *(f"{who}:instead" for who in ("ada", "alpha", "beta")),
        ]
        log = await log_of(hub, ada, session)
        assert not [e for e in log if e.get("run") in {q["run"] for q in queued} and e["type"] == "run.started"]


@TEAMS
async def test_what_was_queued_before_the_cut_stays(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        live = await ada.say(session, "/script turns=2 tokens=30 rate=20")
        waiting = await ada.say(session, "waiting")
        await ada.expect("message.delta", turn=0, index=3)
        steering = await ada.say(session, "steering", on_busy="steer")
        last = await ada.say(session, "last")
        answer = await edited(ada, session, last["message"], "at last")
        await finish(ada, live["run"])
        await ada.expect("message.steered", message=steering["message"], outcome="follow_up")
        await finish(ada, waiting["run"])
        await finish(ada, answer["run"])
        lines = await known(ada, session)
        assert lines[1:] == [
            *(f"{who}:waiting" for who in ("ada", "alpha", "beta")),
            *(f"{who}:steering" for who in ("ada", "alpha", "beta")),
            *(f"{who}:at last" for who in ("ada", "alpha", "beta")),
        ]


@TEAMS
@pytest.mark.parametrize("which", [0, 2, 5])
@pytest.mark.parametrize("whose", ["user", "agent"])
async def test_an_answer_is_given_again(hub: Door, team: str, which: int, whose: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        sent = [await exchange(ada, session, f"message {n}") for n in range(6)]
        messages = await transcript(hub, ada, session)
        message = sent[which]["message"] if whose == "user" else messages[3 * which + 2]["message"]
        answer = await ada.ask("message.regenerate", session=session, message=message)
        frames = await finish(ada, answer["run"])
        queued = next(f for f in frames if f["type"] == "run.queued")
        assert (queued["seq"], queued["run"]) == (answer["seq"], answer["run"])
        assert queued["data"]["input_seq"] == sent[which]["seq"]
        assert len([f for f in frames if f["type"] == "message.redacted"]) == 2 + 3 * (5 - which)
        lines = [f"{who}:message {n}" for n in range(which + 1) for who in ("ada", "alpha", "beta")]
        assert await checked(hub, ada, session) == lines
        assert [m["message"] for m in await transcript(hub, ada, session)][: 3 * which + 1] == [
            m["message"] for m in messages[: 3 * which + 1]
        ]


@TEAMS
async def test_an_answer_under_way_is_begun_again(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        sent = await ada.say(session, "/script turns=2 tokens=50 rate=100", client_id="k")
        await ada.say(session, "behind it")
        await ada.expect("message.delta", turn=0, index=3)
        answer = await ada.ask("message.regenerate", session=session, message=sent["message"])
        await finish(ada, answer["run"])
        lines = await checked(hub, ada, session)
        assert [line.split(":")[0] for line in lines] == ["ada", "alpha", "beta"]
        assert await ada.say(session, "/script turns=2 tokens=50 rate=100", client_id="k") == sent


async def test_the_addressed_agent_answers_again(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, "scripted-autogen")
        sent = await exchange(ada, session, "you there", to="beta")
        for ask in (
            ada.ask("message.regenerate", session=session, message=sent["message"]),
            edited(ada, session, sent["message"], "and now"),
        ):
            frames = await finish(ada, (await ask)["run"])
            assert [f["data"]["agent"] for f in frames if f["type"] == "turn.started"] == ["beta"]


async def test_a_failed_answer_is_given_again(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, "scripted-autogen")
        sent = await exchange(ada, session, "/script turns=2 tokens=9 fail_at=4")
        (failed,) = [m for m in await transcript(hub, ada, session) if m["status"] == "failed"]
        answer = await ada.ask("message.regenerate", session=session, message=failed["message"])
        frames = await finish(ada, answer["run"])
        assert frames[-1]["data"]["input_seq"] == sent["seq"]
        assert [m["status"] for m in await transcript(hub, ada, session)] == ["complete", "failed"]


async def test_what_a_steered_run_was_told_is_told_in_the_same_order_again(hub: Door) -> None:
    """A message that waited in the queue was heard after what was said before its turn came."""
    async with await hub.person("ada") as ada:
        session = await room_for(ada)
        await ada.say(session, "/script turns=2 tokens=30 rate=20")
        await ada.say(session, "/script turns=1 tokens=1 seed=1")
        await ada.expect("message.delta", turn=0, index=2)
        await ada.say(session, "steering", on_busy="steer")
        await ada.expect("run.finished")
        await ada.expect("run.finished")
        last = await exchange(ada, session, "last")
        for n in range(2):  # the second time, nothing is left of the checkpoints before
            answer = await edited(ada, session, last["message"], f"again {n}")
            frames = await finish(ada, answer["run"])
            last = next(f["data"] for f in frames if f["type"] == "message.created")
            for m in range(3):
                await exchange(ada, session, f"more {m}")
        lines = await known(ada, session)
        told = [line.split(":")[1][:5] for line in lines]
        assert told[:6] == ["/scri", "t0.0 ", "steer", "t1.0 ", "/scri", "t0.0 "]
        assert told[6:] == ["again"] * 3 + ["more "] * 9


@pytest.mark.parametrize("command", ["message.edit", "message.regenerate"])
async def test_who_may_not_is_told_so(hub: Door, command: str) -> None:
    fields = {"text": "x"} if command == "message.edit" else {}
    async with (
        await hub.person("ada") as ada,
        await hub.person("bob") as bob,
        await hub.person("viv") as viv,
        await hub.person("eve") as eve,
    ):
        session = await room_for(ada)
        sent = await exchange(ada, session, "hello")
        answer = (await transcript(hub, ada, session))[1]["message"]
        async with hub.rest(ada.token) as rest:
            for name, role in (("bob", "editor"), ("viv", "viewer")):
                put = await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": role})
                assert put.status_code == 200

        async def code(person: Person, message: str, where: str = session) -> str:
            with pytest.raises(Refused) as refused:
                await person.ask(command, session=where, message=message, **fields)
            return refused.value.code

        other = await room_for(ada)
        assert await code(viv, sent["message"]) == "forbidden"
        assert await code(eve, sent["message"]) == "not_found"
        assert await code(ada, "nonsense") == "not_found"
        assert await code(ada, sent["message"], other) == "not_found"
        assert await code(ada, sent["message"], "nonsense") == "not_found"
        if command == "message.edit":
            assert await code(bob, sent["message"]) == "forbidden"
            assert await code(ada, answer) == "bad_request"
        log = await log_of(hub, ada, session)
        assert not [e for e in log if e["type"] == "message.redacted"], "nothing was lost"
        again = await (bob if command == "message.regenerate" else ada).ask(
            command, session=session, message=sent["message"], **fields
        )
        await ada.expect("run.finished", input_seq=sent["seq"] if command == "message.regenerate" else again["seq"])
        assert await code(ada, answer) == "conflict"
        if command == "message.edit":
            assert await edited(ada, session, sent["message"], "x") == again, "the same edit is done once"
            with pytest.raises(Refused) as refused:
                await edited(ada, session, sent["message"], "y")
            assert refused.value.code == "conflict"


async def test_the_same_over_rest(hub: Door) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        sent = await exchange(ada, session, "hello")
        path = f"/v1/sessions/{session}/messages/{sent['message']}"
        again = await rest.post(f"{path}/regenerate")
        assert again.status_code == 201, again.text
        await finish(ada, again.json()["run"])
        changed = await rest.patch(path, json={"text": "changed"})
        assert changed.status_code == 200, changed.text
        await finish(ada, changed.json()["run"])
        assert await checked(hub, ada, session) == [f"{who}:changed" for who in ("ada", "alpha", "beta")]
        for answer, code in (
            (await rest.patch(path, json={"text": ""}), "bad_request"),
            (await rest.patch(path, json={"text": "other"}), "conflict"),
            (await rest.post(f"{path}/regenerate"), "conflict"),
            (await rest.post(f"/v1/sessions/{session}/messages/x/regenerate"), "not_found"),
        ):
            assert answer.json()["code"] == code


async def test_who_comes_later_sees_nothing_of_what_was_cut_in_mid_word(two_workers: tuple[Door, Door]) -> None:
    """The worker that runs it is another one than the one that is told to cut, and it does not notice at once."""
    one, two = two_workers
    async with await one.person("ada") as here, await two.enter(here.token) as there:
        session = await room_for(here)
        live = await here.say(session, "/script turns=1 tokens=3000 rate=200")
        await here.expect("message.delta", index=3)
        answer = await edited(there, session, live["message"], "/script turns=1 tokens=1000 rate=100")
        while (frame := await here.next_frame())["type"] != "message.delta" or frame["run"] != answer["run"]:
            pass
        async with await two.enter(here.token) as late:
            await late.ask("session.join", session=session, after_seq=answer["seq"])
            seen = await late.expect("message.snapshot")
            assert seen["run"] == answer["run"]
            await here.ask("run.cancel", session=session)
            frames = await late.until("run.finished")
            assert not [f for f in frames if f.get("run") == live["run"]]


async def test_edits_sends_and_stops_on_two_workers_do_not_get_in_each_others_way(
    two_workers: tuple[Door, Door],
) -> None:
    one, two = two_workers
    dice = random.Random(7)
    async with await one.person("ada") as here, await two.enter(here.token) as there:
        session = await room_for(here)
        messages = [(await exchange(here, session, "first"))["message"]]

        async def meddle(person: Person, number: int) -> None:
            for n in range(12):
                try:
                    await _something(person, session, dice, messages, f"{number}.{n}")
                except Refused as refused:
                    if refused.code not in ("conflict", "not_found"):
                        raise
                await asyncio.sleep(dice.random() / 50)

        await asyncio.gather(*(meddle(person, number) for number, person in enumerate((here, there, here, there))))
        await checked_when_quiet(one, here, session)


async def _something(person: Person, session: str, dice: random.Random, messages: list[str], text: str) -> None:
    match dice.choice(["send", "steer", "interrupt", "edit", "edit", "regenerate", "cancel"]):
        case "edit":
            await edited(person, session, dice.choice(messages), text)
        case "regenerate":
            await person.ask("message.regenerate", session=session, message=dice.choice(messages))
        case "cancel":
            await person.ask("run.cancel", session=session)
        case policy:
            on_busy = "queue" if policy == "send" else policy
            sent = await person.say(session, f"/script turns=2 tokens=3 rate=100 seed={len(messages)}", on_busy=on_busy)
            messages.append(sent["message"])


async def checked_when_quiet(door: Door, person: Person, session: str) -> None:
    """Every run has ended once, and the agents know what counts, each thing once."""
    lines = await known(person, session)
    log = await log_of(door, person, session)
    assert seqs(log) == list(range(1, len(log) + 1))
    asked = [e["run"] for e in log if e["type"] == "run.queued"]
    ended = [e["run"] for e in log if e["type"] == "run.finished"]
    assert sorted(asked) == sorted(ended)
    shown = await said(door, person, session)
    question = "ada:/script history turn"
    assert shown.count(question) == 1
    shown.remove(question)  # it may have waited behind other questions; its answer is the last one
    assert sorted(lines) == sorted(shown[:-1])
    steering = [e["data"]["message"] for e in log if e["type"] == "message.created" and "steers" in e["data"]]
    void = {e["data"]["message"] for e in log if e["type"] == "message.redacted"}
    outcomes = [e["data"]["message"] for e in log if e["type"] == "message.steered"]
    assert len(set(outcomes)) == len(outcomes)
    assert {*steering} - void <= {*outcomes}


async def test_a_long_conversation_is_told_again_as_far_as_engines_remember(hub: Door, store: Store) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada)
        first = await exchange(ada, session, "/script turns=1 tokens=1")
        await fill(store, session, 1000)
        last = await ada.say(session, "/script turns=1 tokens=1")
        await finish(ada, last["run"])
        answer = await edited(ada, session, last["message"], "instead")
        await finish(ada, answer["run"])
        lines = await known(ada, session)
        assert lines[-3:] == [f"{who}:instead" for who in ("ada", "alpha", "beta")]
        assert lines[-4] == "ada:filled 1000"
        assert 400 <= len(lines) <= 405
        with pytest.raises(Refused) as refused:
            await _cut_too_much(ada, store, session, first["message"])
        assert refused.value.code == "too_large"


async def _cut_too_much(person: Person, store: Store, session: str, message: str) -> Any:
    await fill(store, session, 1500)
    return await edited(person, session, message, "x")


async def fill(store: Store, session: str, count: int) -> None:
    """So many messages at once, as if they had been said and heard long ago."""
    async with store.transaction() as db:
        await db.connection.execute(
            """
            WITH place AS (
                UPDATE sessions SET last_seq = last_seq + $2 WHERE id = $1 RETURNING last_seq - $2 AS before),
            logged AS (
                INSERT INTO events (session_id, seq, type, ts, data)
                SELECT $1, before + n, 'budget.reached', clock_timestamp(),
                       '{"scope":"x","quantity":"tokens","limit":1,"used":1}'
                FROM place, generate_series(1, $2) AS n)
            INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, in_state, status,
                                  created_at)
            SELECT gen_random_uuid(), $1, before + n, 'user', 'x', 'ada', 'filled ' || n, true, 'complete',
                   clock_timestamp()
            FROM place, generate_series(1, $2) AS n
            """,
            session,
            count,
        )
        await db.connection.execute("DELETE FROM checkpoints WHERE session_id = $1", session)


async def test_a_cut_and_a_worker_that_is_just_then_done(dsn: str, redis_url: str, store: Store) -> None:
    """The end of a turn waits for the session while it is cut: nothing of it may be written afterwards."""
    async with (
        running_worker(settings_for(dsn, redis_url)) as hub,
        await hub.person("ada") as ada,
    ):
        session = await room_for(ada, "scripted-autogen")
        for n in range(8):
            # The first piece comes in any case; later ones may travel together. 10 ms after it the turn ends.
            live = await ada.say(session, f"/script turns=2 tokens=2 rate=100 seed={n}")
            await ada.expect("message.delta", turn=n % 2, index=0)
            answer = await edited(ada, session, live["message"], f"edit {n}")
            await finish(ada, answer["run"])
        lines = await checked(hub, ada, session)
        assert lines == [f"{who}:edit {n}" for n in range(8) for who in ("ada", "alpha", "beta")]


@pytest.mark.parametrize("how", ["edit", "regenerate", "edit behind"])
async def test_a_turn_that_waits_for_a_person_is_cut_like_any_other(hub: Door, how: str) -> None:
    """Its checkpoint stands in the middle of a turn, and is none to go back to."""
    async with await hub.person("ada") as ada:
        session = await room_for(ada, "scripted-tools")
        await exchange(ada, session, "hello")
        asking = await ada.say(session, "/script turns=1 tokens=2 tool=transfer")
        request = (await ada.expect("input.requested"))["data"]["request"]
        before = ["ada:hello", "alpha:hello"]
        if how == "regenerate":
            answer = await ada.ask("message.regenerate", session=session, message=asking["message"])
            again = await ada.expect("input.requested")
            assert again["run"] == answer["run"]
            fields = {"request": again["data"]["request"], "decision": "approve"}
            await ada.ask("input.respond", session=session, **fields)
            after = ["ada:/script turns=1 toke", "alpha:t0.0 t0.1 "]
        elif how == "edit":
            answer = await edited(ada, session, asking["message"], "instead")
            after = ["ada:instead", "alpha:instead"]
        else:
            behind = await ada.say(session, "behind")
            answer = await edited(ada, session, behind["message"], "instead")
            after = ["ada:/script turns=1 toke", "ada:instead", "alpha:instead"]
        await finish(ada, answer["run"])
        assert await checked(hub, ada, session) == before + after
        with pytest.raises(Refused) as refused:
            await ada.ask("input.respond", session=session, request=request, decision="approve")
        assert refused.value.code == "conflict"
        async with hub.rest(ada.token) as rest:
            assert (await rest.get(f"/v1/sessions/{session}/inputs")).json()["items"] == []


async def test_what_is_cut_in_mid_word_has_its_price(hub: Door, store: Store) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada)
        live = await ada.say(session, "/script turns=1 tokens=500 rate=100")
        await ada.expect("message.delta", index=5)
        await finish(ada, (await edited(ada, session, live["message"], "short"))["run"])
        async with asyncio.timeout(30):
            while True:
                async with store.statements() as db:
                    booked = await db.connection.fetch(
                        "SELECT completion_tokens FROM usage WHERE run_id = $1", live["run"]
                    )
                if booked:
                    break
        assert [5 < row[0] < 500 for row in booked] == [True]
