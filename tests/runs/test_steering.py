"""Steering: a message reaches the team before its next turn, or becomes a run of its own; one of the two, once."""

import asyncio

import pytest

from hub.store import leases
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs
from tests.runs.conversation import finish, known, log_of
from tests.runs.test_sending import room_for

SLOW = "/script turns=2 tokens=40 rate=25"  # time to steer in the first turn, also on a busy machine


async def steer(person: Person, session: str, text: str, **fields: object) -> str:
    """Say it while a run is under way; gives the id of the message."""
    sent = await person.say(session, text, on_busy="steer", **fields)
    assert sent["run"] is None
    message: str = sent["message"]
    return message


async def outcomes(door: Door, person: Person, session: str) -> list[tuple[str, str, int | None]]:
    """What became of every message that was to steer, in the order in which it was told."""
    log = await log_of(door, person, session)
    told = [e["data"] for e in log if e["type"] == "message.steered"]
    return [(d["message"], d["outcome"], d.get("turn")) for d in told]


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_the_next_turn_takes_what_was_said(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team, on_busy="steer")
        sent = await ada.say(session, SLOW)  # nothing to steer: an ordinary message
        assert sent["run"] is not None
        await ada.expect("message.delta", turn=0, index=2)
        one = await steer(ada, session, "one")
        two = await steer(ada, session, "two")
        frames = await finish(ada, sent["run"])
        created = [f["data"] for f in frames if f["type"] == "message.created" and f["data"]["text"] in ("one", "two")]
        assert [c["steers"] for c in created] == [sent["run"]] * 2
        told = [f for f in frames if f["type"] in ("turn.started", "message.steered")]
        assert [(f["type"], f["data"]["turn"]) for f in told] == [
            ("turn.started", 0),
            ("message.steered", 1),
            ("message.steered", 1),
            ("turn.started", 1),
        ]
        assert [f["run"] for f in told] == [sent["run"]] * 4
        assert await known(ada, session) == [
            "ada:" + SLOW[:20],
            "alpha:" + _said(0),
            "ada:one",
            "ada:two",
            "beta:" + _said(1),
        ]
        assert await outcomes(hub, ada, session) == [(one, "consumed", 1), (two, "consumed", 1)]
        assert [frame for frame in ada.seen if "seq" in frame] == await log_of(hub, ada, session)


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_without_a_next_turn_each_becomes_a_run_in_its_place(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        sent = await ada.say(session, "/script turns=1 tokens=40 rate=16")
        await ada.expect("message.delta", turn=0, index=2)
        before = await ada.say(session, "/script turns=1 tokens=1")
        one = await steer(ada, session, "/script turns=1 tokens=2", client_id="k")
        two = await steer(ada, session, "/script turns=1 tokens=3")
        after = await ada.say(session, "/script turns=1 tokens=4")
        frames = await finish(ada, after["run"])
        log = await log_of(hub, ada, session)
        at = next(n for n, e in enumerate(log) if e["type"] == "run.finished" and e["run"] == sent["run"])
        following = log[at + 1 : at + 5]
        assert [e["type"] for e in following] == ["message.steered", "run.queued"] * 2
        assert len({e["ts"] for e in following}) == 1
        place = {e["data"]["message"]: e["seq"] for e in log if e["type"] == "message.created"}
        assert [e["data"]["input_seq"] for e in following[1::2]] == [place[one], place[two]]
        assert await outcomes(hub, ada, session) == [(one, "follow_up", None), (two, "follow_up", None)]
        ended = [f["data"]["input_seq"] for f in frames if f["type"] == "run.finished"]
        assert ended == [sent["seq"], before["seq"], place[one], place[two], after["seq"]]
        again = await ada.say(session, "/script turns=1 tokens=2", client_id="k", on_busy="steer")
        assert again == {"seq": place[one], "message": one, "run": None}
        with pytest.raises(Refused) as refused:
            await ada.say(session, "else", client_id="k", on_busy="steer")
        assert refused.value.code == "idempotency_conflict"
        assert [line.split(":")[0] for line in await known(ada, session)] == ["ada", "alpha"] * 5


@pytest.mark.parametrize("how", ["cancel", "failure", "interrupt"])
async def test_a_run_that_ends_early_leaves_it_to_a_run_of_its_own(hub: Door, how: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada)
        sent = await ada.say(session, "/script turns=2 tokens=30 rate=16" + " fail_at=25" * (how == "failure"))
        await ada.expect("message.delta", turn=0, index=2)
        message = await steer(ada, session, "/script turns=1 tokens=2")
        last = None
        if how == "cancel":
            await ada.ask("run.cancel", session=session)
        elif how == "interrupt":
            last = (await ada.say(session, "/script turns=1 tokens=1", on_busy="interrupt"))["run"]
        await finish(ada, sent["run"])
        queued = await ada.expect("run.queued")
        await finish(ada, last or queued["run"])
        assert await outcomes(hub, ada, session) == [(message, "follow_up", None)]
        ended = [e for e in await log_of(hub, ada, session) if e["type"] == "run.finished"]
        assert [e["run"] for e in ended] == [sent["run"], queued["run"], *([last] if last else [])]
        assert [line for line in await known(ada, session) if "tokens=2" in line or "turns=1" in line]


async def test_it_belongs_to_the_run_that_comes_first(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url)
    async with (
        running_worker(settings_for(dsn, redis_url, role="gateway"), "test:1:a") as hub,  # here nobody claims runs
        await hub.person("ada") as ada,
    ):
        session = await room_for(ada)
        first = await ada.say(session, "/script turns=1 tokens=1")
        second = await ada.say(session, "/script turns=1 tokens=2")
        one = await steer(ada, session, "/script turns=1 tokens=3")
        await ada.ask("run.cancel", session=session, run=second["run"])
        assert await outcomes(hub, ada, session) == []
        await ada.ask("run.cancel", session=session, run=first["run"])
        assert await outcomes(hub, ada, session) == [(one, "follow_up", None)]
        two = await steer(ada, session, "two")
        async with running_worker(settings, "test:2:b"):
            taken = await ada.expect("message.steered", message=two, outcome="consumed", turn=0)
            await finish(ada, taken["run"])
            assert [line.split(":")[1] for line in await known(ada, session)] == [
                "/script turns=1 toke",
                "/script turns=1 toke",
                "/script turns=1 toke",
                "two",
                "t0.0 t0.1 t0.2 ",
            ]


async def test_it_is_told_once_whoever_takes_the_run_over(hub: Door, store: Store) -> None:
    """The worker is lost in the turn that was given the message, and before that in the turn before it."""

    async def lose_the_worker() -> None:
        async with store.transaction() as db:
            await db.connection.execute("UPDATE runs SET lease_until = clock_timestamp() - interval '1 second'")
            assert await leases.claim(db, node="lost:1:x", limit=1, lease_s=0)

    async with await hub.person("ada") as ada:
        session = await room_for(ada)
        sent = await ada.say(session, "/script turns=3 tokens=30 rate=18")
        await ada.expect("message.delta", turn=0, index=2)
        early = await steer(ada, session, "early")
        await lose_the_worker()
        await ada.expect("turn.superseded", turn=0)
        await ada.expect("message.steered", message=early, outcome="consumed", turn=0)
        await ada.expect("message.delta", turn=0, index=1)
        late = await steer(ada, session, "late")
        await ada.expect("message.delta", turn=1, index=1)
        await lose_the_worker()
        await ada.expect("turn.superseded", turn=1)
        await finish(ada, sent["run"])
        assert await outcomes(hub, ada, session) == [(early, "consumed", 0), (late, "consumed", 1)]
        assert [line.split(":")[0] for line in await known(ada, session)] == [
            "ada",
            "ada",
            "alpha",
            "ada",
            "beta",
            "alpha",
        ]


async def test_many_steer_on_two_workers_and_each_gets_one_outcome(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await one.person("ada") as here, await two.enter(here.token) as there:
        session = await room_for(here)
        await here.say(session, "/script turns=5 tokens=4 rate=100")
        said: list[str] = []

        async def go_on(person: Person) -> None:
            for number in range(15):
                sent = await person.say(session, f"/script turns=1 tokens=1 seed={number}", on_busy="steer")
                said.append(sent["message"])
                await asyncio.sleep(0.01)  # at any moment of a run, the last one too

        await asyncio.gather(go_on(here), go_on(there))
        lines = await known(here, session)
        assert len([line for line in lines if line.startswith("ada:")]) == 1 + len(said)
        told = [message for message, _, _ in await outcomes(one, here, session)]
        log = await log_of(one, here, session)
        steering = [e["data"]["message"] for e in log if e["type"] == "message.created" and "steers" in e["data"]]
        assert sorted(told) == sorted(steering)
        asked = [e["run"] for e in log if e["type"] == "run.queued"]
        ended = [e["run"] for e in log if e["type"] == "run.finished"]
        assert sorted(asked) == sorted(ended)
        assert seqs(log) == list(range(1, len(log) + 1))


def _said(turn: int) -> str:
    return "".join(f"t{turn}.{i} " for i in range(40))[:20]
