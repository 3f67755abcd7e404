"""Programs that speak as agents, over real sockets, on two workers of one hub."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs, streamed
from tests.relay.wiring import OwnValkey, own_valkey
from tests.runs.conversation import finish, log_of
from tests.runs.test_sending import room_for

Frame = dict[str, Any]

TEAMS = {
    "desk": """
        kind: round_robin
        agents:
          - {name: scout, kind: bot, instructions: Look., accept_s: 15, timeout_s: 60}
          - {name: writer}""",
    "hasty": """
        kind: round_robin
        agents:
          - {name: scout, kind: bot, accept_s: 2}
          - {name: writer}""",
    "impatient": """
        kind: round_robin
        agents:
          - {name: scout, kind: bot, silence_s: 1.5}
          - {name: writer}""",
    "covered": """
        kind: round_robin
        agents:
          - {name: scout, kind: bot, accept_s: 3, silence_s: 2, timeout_s: 60, substitute: writer}
          - {name: writer}""",
    "vacant": """
        kind: round_robin
        agents:
          - {name: scout, kind: bot, accept_s: 0.3, substitute: writer}
          - {name: writer}""",
    "bound": """
        kind: round_robin
        agents: [{name: scout, kind: bot, user: owl, accept_s: 15}]""",
    "relay_race": """
        kind: swarm
        agents:
          - {name: scout, kind: bot, handoffs: [writer]}
          - {name: writer}""",
    "crossing": """
        kind: graph
        agents: [{name: scout, kind: bot}, {name: left, kind: bot}, {name: right}, {name: last}]
        edges: [{from: scout, to: left}, {from: scout, to: right}, {from: left, to: last}, {from: right, to: last}]""",
    "picked": """
        kind: selector
        agents: [{name: scout, kind: bot}, {name: writer}]""",
}


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnValkey]:
    with own_valkey() as server:
        yield server


def write_teams(folder: Path, teams: dict[str, str]) -> Path:
    """A folder with these teams."""
    for name, text in teams.items():
        lines = [line[8:] for line in text.strip("\n").split("\n")]
        (folder / f"{name}.yaml").write_text("\n".join([f"name: {name}", "description: A test.", *lines]))
    return folder


@pytest.fixture(scope="module")
async def pair(
    cluster: Cluster, valkey: OwnValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Door, Door]]:
    """Two workers with the teams above."""
    folder = write_teams(tmp_path_factory.mktemp("teams"), TEAMS)
    settings = settings_for(await cluster.clone(), valkey.url, teams_dir=folder)
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(running_worker(settings, node)) for node in ("t:1:a", "t:2:b")]
        yield one, two


async def invite(door: Door, person: Person, session: str, bot: Person, role: str = "editor") -> None:
    async with door.rest(person.token) as rest:
        put = await rest.put(f"/v1/sessions/{session}/members/{bot.hello['user']['id']}", json={"role": role})
        assert put.status_code == 200, put.text


async def offered(bot: Person) -> Frame:
    data: Frame = (await bot.expect("turn.offered"))["data"]
    return data


async def speak(bot: Person, offer: Frame, *pieces: str, **end: Any) -> None:
    for index, piece in enumerate(pieces):
        assert await bot.ask("turn.delta", offer=offer["offer"], index=index, text=piece) == {}
    assert await bot.ask("turn.complete", offer=offer["offer"], **end) == {}


def completed(frames: list[Frame]) -> list[tuple[str, str]]:
    found = [frame["data"] for frame in frames if frame["type"] == "message.completed"]
    return [(data["author"]["name"], data["text"]) for data in found]


async def asked(person: Person) -> list[Frame]:
    """The turns that were ever offered to somebody."""
    await person.ask("ping")
    return [frame for frame in person.seen if frame["type"] == "turn.offered"]


@pytest.mark.parametrize("place", [0, 1])
async def test_a_bot_speaks_as_an_agent_wherever_it_is_connected(pair: tuple[Door, Door], place: int) -> None:
    async with await pair[0].person() as ada, await pair[place].person() as bot:
        session = await room_for(ada, "desk")
        await invite(pair[0], ada, session, bot)
        assert await bot.ask("agent.register", agent="scout") == {
            "agent": "scout",
            "session": None,
            "team": None,
            "turns": 8,
        }
        sent = await ada.say(session, "what is there")
        offer = await offered(bot)
        assert (offer["agent"], offer["team"], offer["turn"], offer["attempt"], offer["retry"]) == (
            "scout",
            "desk",
            0,
            1,
            0,
        )
        assert (offer["instructions"], offer["prompt"]) == ("Look.", "what is there")
        assert [(heard["kind"], heard["text"]) for heard in offer["context"]] == [("user", "what is there")]
        await speak(bot, offer, "a ", "tree ", "")
        frames = await finish(ada, sent["run"])
        assert completed(frames) == [("scout", "a tree "), ("writer", "what is there")]
        said = next(f["data"]["message"] for f in frames if f["type"] == "message.completed")
        assert streamed(frames, said) == "a tree "
        sent = await ada.say(session, "and now")
        offer = await offered(bot)
        heard = [(h["kind"], h["text"]) for h in offer["context"]]
        assert heard == [
            ("user", "what is there"),
            ("agent", "a tree "),
            ("agent", "what is there"),
            ("user", "and now"),
        ]
        await speak(bot, offer, text="the same tree")
        assert completed(await finish(ada, sent["run"]))[0] == ("scout", "the same tree")


class Bot:
    """A connection that is registered as `scout` and invited wherever `desk` is asked for."""

    def __init__(self, person: Person) -> None:
        self.person = person

    async def offered(self) -> Frame:
        return await offered(self.person)

    async def delta(self, offer: Frame, index: int, text: str) -> None:
        await self.person.ask("turn.delta", offer=offer["offer"], index=index, text=text)

    async def refused(self, offer: Frame, type_: str = "turn.delta", **fields: Any) -> Frame:
        if type_ == "turn.delta":
            fields = {"index": 0, "text": "late", **fields}
        with pytest.raises(Refused) as error:
            await self.person.ask(type_, offer=offer["offer"], **fields)
        return error.value.error

    async def withdrawn(self, offer: Frame) -> str:
        reason: str = (await self.person.expect("turn.withdrawn", offer=offer["offer"]))["data"]["reason"]
        return reason


async def desk(stack: AsyncExitStack, pair: tuple[Door, Door], bots: int = 2, team: str = "desk") -> tuple[Any, ...]:
    """Ada, her session, and so many bots in it, on the workers in turn."""
    ada = await stack.enter_async_context(await pair[0].person())
    session = await room_for(ada, team)
    found = list[Bot]()
    for number in range(bots):
        person = await stack.enter_async_context(await pair[number % 2].person())
        await invite(pair[0], ada, session, person)
        await person.ask("agent.register", agent="scout", session=session)
        found.append(Bot(person))
    return ada, session, *found


async def first_of(bots: tuple[Bot, ...]) -> tuple[Frame, Bot, Bot]:
    """The offer, who got it, and another bot."""
    async with asyncio.TaskGroup() as tasks:
        waiting = {tasks.create_task(bot.offered()): bot for bot in bots}
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
    (task,) = done
    chosen = waiting[task]
    return task.result(), chosen, next(bot for bot in bots if bot is not chosen)


async def test_who_is_lost_in_the_middle_loses_the_turn_to_another(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, *bots = await desk(stack, pair)
        sent = await ada.say(session, "look")
        offer, first, second = await first_of(tuple(bots))
        await first.delta(offer, 0, "I see ")
        shown = await ada.expect("message.delta", index=0)
        await first.person.socket.close()
        again = await second.offered()
        assert (again["turn"], again["attempt"], again["retry"]) == (offer["turn"], offer["attempt"], 1)
        assert again["offer"] != offer["offer"]
        assert again["context"] == offer["context"]
        await speak(second.person, again, "a house")
        frames = await finish(ada, sent["run"])
        assert completed(frames)[0] == ("scout", "a house")
        log = await log_of(pair[0], ada, session)
        assert seqs(log) == list(range(1, len(log) + 1))
        void = [e["data"] for e in log if e["type"] == "turn.superseded"]
        assert [(v["turn"], v["attempt"], v["messages"]) for v in void] == [(0, 1, [shown["data"]["message"]])]
        begun = [(e["data"]["turn"], e["data"]["agent"]) for e in log if e["type"] == "turn.started"]
        assert begun == [(0, "scout"), (0, "scout"), (1, "writer")]


async def test_a_bot_that_comes_back_is_offered_the_turn_again(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1)
        sent = await ada.say(session, "look")
        await bot.offered()
        await bot.person.socket.close()
        async with await pair[1].enter(bot.person.token) as back:
            await back.ask("agent.register", agent="scout", team="desk")
            offer = await offered(back)
            assert offer["retry"] == 1
            await speak(back, offer, text="here again")
            frames = await finish(ada, sent["run"])
            assert completed(frames)[0] == ("scout", "here again")
            assert not [f for f in frames if f["type"] == "turn.superseded"], "nothing had been shown"


async def test_a_declined_turn_is_offered_to_who_has_not_declined_it(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, *bots = await desk(stack, pair)
        sent = await ada.say(session, "look")
        offer, first, second = await first_of(tuple(bots))
        await first.person.ask("turn.decline", offer=offer["offer"], reason="busy")
        assert (await first.refused(offer))["details"]["reason"] == "done"
        again = await second.offered()
        await second.person.ask("turn.decline", offer=again["offer"])
        ended = (await finish(ada, sent["run"]))[-1]["data"]
        assert (ended["status"], ended["error"]["code"]) == ("failed", "bot_declined")


async def test_silence_costs_the_turn_and_late_words_are_refused(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, *bots = await desk(stack, pair, team="impatient")
        sent = await ada.say(session, "look")
        offer, first, second = await first_of(tuple(bots))
        await first.delta(offer, 0, "I ")
        again = await second.offered()
        assert await first.withdrawn(offer) == "silent"
        late = await first.refused(offer, index=1)
        assert (late["code"], late["details"]) == ("conflict", {"reason": "silent"})
        late = await first.refused(offer, "turn.complete", text="too late")
        assert (late["code"], late["details"]) == ("conflict", {"reason": "silent"})
        for index in range(9):  # an empty piece is a sign of life, too
            await second.delta(again, index, "")
            await asyncio.sleep(0.2)
        await speak(second.person, again, text="in time")
        frames = await finish(ada, sent["run"])
        assert completed(frames)[0] == ("scout", "in time")
        assert not [f for f in frames if f["type"] == "message.delta" and "late" in f["data"]["text"]]


async def test_a_turn_that_nobody_begins_has_a_coded_end(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="hasty")
        sent = await ada.say(session, "look")
        offer = await bot.offered()
        ended = (await finish(ada, sent["run"]))[-1]["data"]
        assert (ended["status"], ended["error"]["code"]) == ("failed", "bot_unavailable")
        assert await bot.withdrawn(offer) == "not_accepted"
        sent = await ada.say(session, "look again")  # the next run asks it again
        await speak(bot.person, await bot.offered(), "awake")
        assert completed(await finish(ada, sent["run"]))[0] == ("scout", "awake")


async def test_a_substitute_speaks_for_a_bot_that_is_not_there_or_falls_silent(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="covered")
        sent = await ada.say(session, "hello")
        offer = await bot.offered()
        await bot.delta(offer, 0, "well")
        frames = await finish(ada, sent["run"])
        assert completed(frames) == [("writer", "hello"), ("writer", "hello")]
        assert len([f for f in frames if f["type"] == "turn.superseded"]) == 1
        await bot.person.socket.close()
        session = await room_for(ada, "vacant")
        sent = await ada.say(session, "bye")
        frames = await finish(ada, sent["run"])
        assert completed(frames) == [("writer", "bye"), ("writer", "bye")]
        begun = [(f["data"]["turn"], f["data"]["agent"]) for f in frames if f["type"] == "turn.started"]
        assert begun == [(0, "scout"), (0, "writer"), (1, "writer")]
        assert not [f for f in frames if f["type"] == "turn.superseded"]


async def test_who_stands_in_for_a_bot_has_the_turn_to_its_end(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="covered")
        sent = await ada.say(session, "/script turns=1 tokens=2 tool=counter key=nobodys")
        offer = await bot.offered()
        await bot.person.ask("turn.decline", offer=offer["offer"])
        frames = await finish(ada, sent["run"])
        assert completed(frames) == [("writer", "t0.0 t0.1 ")]
        [called] = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert called["is_error"], "it has no tools, but models ask for what there is not"
        assert len(await asked(bot.person)) == 1


async def test_what_is_wrong_with_a_piece_is_said_and_costs_nothing(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, *bots = await desk(stack, pair)
        sent = await ada.say(session, "look")
        offer, bot, other = await first_of(tuple(bots))
        assert (await other.refused(offer))["code"] == "not_found", "an offer of somebody else's is none"
        assert (await bot.refused({"offer": "x"}))["code"] == "not_found"
        await bot.delta(offer, 0, "a")
        wrong = await bot.refused(offer, index=2)
        assert (wrong["code"], wrong["details"]) == ("bad_request", {"index": 1})
        assert (await bot.refused(offer, index=0))["details"] == {"index": 1}
        assert (await bot.refused(offer, index=1, text="x" * 16_001))["code"] == "bad_request"
        wrong = await bot.refused(offer, "turn.complete", handoff="writer")
        assert (wrong["code"], wrong["details"]) == ("bad_request", {"handoffs": []})
        for index in range(1, 7):
            await bot.delta(offer, index, "x" * 15_000)
        wrong = await bot.refused(offer, index=7, text="x" * 15_000)
        assert (wrong["code"], wrong["details"]) == ("too_large", {"characters": 100_000})
        await speak(bot.person, offer)
        frames = await finish(ada, sent["run"])
        assert completed(frames)[0] == ("scout", "a" + 90_000 * "x")
        await speak(bot.person, offer)  # the same end again is the same
        assert (await bot.refused(offer, "turn.complete", text="another"))["code"] == "conflict"


async def test_a_flood_is_refused_piece_by_piece_and_the_rest_stands(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1)
        sent = await ada.say(session, "look")
        offer = await bot.offered()
        person = bot.person
        ids = [await person.tell("turn.delta", offer=offer["offer"], index=i, text=f"{i} ") for i in range(700)]
        replies = dict[str, Frame]()
        while len(replies) < len(ids):
            if (frame := await person.next_frame("a reply")).get("type") == "reply":
                replies[frame["id"]] = frame
        codes = [replies[id_].get("error", {}).get("code", "ok") for id_ in ids]
        taken = codes.index("rate_limited")
        assert taken >= 300
        assert set(codes[:taken]) == {"ok"}
        assert set(codes[taken:]) <= {"rate_limited", "bad_request"}, "nothing is taken out of order"
        assert replies[ids[taken]]["error"]["retry_after"] > 0
        await speak(person, offer)
        assert completed(await finish(ada, sent["run"]))[0] == ("scout", "".join(f"{i} " for i in range(taken)))


async def test_a_stopped_run_takes_the_turn_back(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, _, bot = await desk(stack, pair)
        await _.person.socket.close()
        sent = await ada.say(session, "look")
        offer = await bot.offered()
        await bot.delta(offer, 0, "half a ")
        await ada.expect("message.delta", index=0)
        await ada.ask("run.cancel", session=session, run=sent["run"])
        assert await bot.withdrawn(offer) == "cancelled"
        frames = await finish(ada, sent["run"])
        said = [f["data"] for f in frames if f["type"] == "message.completed"]
        assert [(m["text"], m["status"]) for m in said] == [("half a ", "interrupted")]
        assert (await bot.refused(offer, index=1))["details"] == {"reason": "cancelled"}


async def test_only_who_may_speak_is_asked(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="covered")
        stranger = await stack.enter_async_context(await pair[0].person())
        viewer = await stack.enter_async_context(await pair[0].person())
        await invite(pair[0], ada, session, viewer, "viewer")
        told = set()
        for person, fields in (
            (stranger, {"agent": "scout", "session": session}),
            (viewer, {"agent": "scout", "session": session}),
            (bot.person, {"agent": "writer", "session": session}),
            (bot.person, {"agent": "nobody"}),
            (bot.person, {"agent": "scout", "team": "nothing"}),
            (bot.person, {"agent": "scout", "team": "bound"}),
        ):
            with pytest.raises(Refused) as error:
                await person.ask("agent.register", **fields)
            told.add((error.value.code, error.value.error["message"]))
        assert told == {("not_found", "no such agent")}, "unknown and forbidden look the same"
        for person in (stranger, viewer):  # anywhere it may: here it may not
            await person.ask("agent.register", agent="scout")
        await bot.person.socket.close()
        vacant = await room_for(ada, "vacant")
        await invite(pair[0], ada, vacant, viewer, "viewer")
        sent = await ada.say(vacant, "hello")
        assert completed(await finish(ada, sent["run"])) == [("writer", "hello")] * 2
        assert not await asked(stranger)
        assert not await asked(viewer)
        await invite(pair[0], ada, session, viewer, "editor")
        sent = await ada.say(session, "hello")
        offer = await offered(viewer)
        await invite(pair[0], ada, session, viewer, "viewer")  # and not any more, in the middle of its turn
        with pytest.raises(Refused) as error:
            await viewer.ask("turn.complete", offer=offer["offer"], text="let me in")
        assert error.value.code == "not_found"
        assert completed(await finish(ada, sent["run"])) == [("writer", "hello")] * 2


async def test_a_place_that_names_a_user_is_theirs_in_every_session(pair: tuple[Door, Door]) -> None:
    async with await pair[0].person() as ada, await pair[1].person("owl") as owl:
        async with pair[1].rest(owl.token) as rest:
            made = await rest.post("/v1/api-keys", json={"name": "bot", "scopes": ["agents:serve"]})
            other = await rest.post("/v1/api-keys", json={"name": "other", "scopes": ["sessions:write"]})
        async with await pair[1].enter(other.json()["key"]) as keyed:
            with pytest.raises(Refused) as error:
                await keyed.ask("agent.register", agent="scout")
            assert (error.value.code, error.value.error["details"]) == ("forbidden", {"needed_scope": "agents:serve"})
        async with await pair[1].enter(made.json()["key"]) as bot:
            await bot.ask("agent.register", agent="scout", team="bound")
            await ada.ask("agent.register", agent="scout")  # she may, in sessions of another team
            session = await room_for(ada, "bound")
            sent = await ada.say(session, "who")
            await speak(bot, await offered(bot), "hoo")
            assert completed(await finish(ada, sent["run"])) == [("scout", "hoo")]
            assert not await asked(ada)
            with pytest.raises(Refused) as error:
                await bot.ask("session.join", session=session)
            assert error.value.code == "forbidden", "the key may speak, and nothing else"


async def test_one_turn_at_a_time_for_who_takes_no_more(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1)
        await bot.person.ask("agent.register", agent="scout", session=session, turns=0)
        await bot.person.ask("agent.register", agent="scout", turns=1)
        second = await room_for(ada, "desk")
        await invite(pair[0], ada, second, bot.person)
        runs = [(await ada.say(one, "look"))["run"] for one in (session, second)]
        for _ in runs:
            await ada.expect("turn.started")
        offer = await bot.offered()
        await bot.delta(offer, 0, "one ")
        await asyncio.sleep(0.2)  # the other turn is being sought
        assert len(await asked(bot.person)) == 1
        await speak(bot.person, offer, text="one")
        await speak(bot.person, await bot.offered(), text="two")
        ends = [await ada.expect("run.finished") for _ in runs]
        assert {e["data"]["status"] for e in ends} == {"completed"}


async def test_a_bot_hands_over_in_a_swarm(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="relay_race")
        sent = await ada.say(session, "go")
        offer = await bot.offered()
        assert offer["handoffs"] == ["writer"]
        await speak(bot.person, offer, "over to you", handoff="writer")
        frames = await finish(ada, sent["run"])
        (handoff,) = [f["data"] for f in frames if f["type"] == "agent.handoff"]
        assert (handoff["from"], handoff["to"]) == ("scout", "writer")
        assert completed(frames) == [("scout", "over to you"), ("writer", "go")]


async def test_bots_speak_side_by_side_in_a_graph_and_where_a_model_picks(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="crossing")
        await bot.person.ask("agent.register", agent="left")
        sent = await ada.say(session, "go")
        await speak(bot.person, await bot.offered(), text="first")
        offer = await bot.offered()
        assert (offer["agent"], offer["turn"]) == ("left", 1)
        await speak(bot.person, offer, "to the ", "left")
        frames = await finish(ada, sent["run"])
        assert sorted(completed(frames)) == [
            ("last", "go"),
            ("left", "to the left"),
            ("right", "go"),
            ("scout", "first"),
        ]
        picked = await room_for(ada, "picked")
        await invite(pair[0], ada, picked, bot.person)
        await bot.person.ask("agent.register", agent="scout")
        sent = await ada.say(picked, "go")
        await speak(bot.person, await bot.offered(), text="picked")
        assert completed(await finish(ada, sent["run"])) == [("scout", "picked"), ("writer", "go")]


async def test_who_is_sent_away_loses_the_turn(pair: tuple[Door, Door]) -> None:
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="covered")
        sent = await ada.say(session, "look")
        offer = await bot.offered()
        await bot.delta(offer, 0, "I see ")
        async with pair[0].rest(ada.token) as rest:
            gone = await rest.delete(f"/v1/sessions/{session}/members/{bot.person.hello['user']['id']}")
            assert gone.status_code < 300, gone.text
        assert await bot.withdrawn(offer) == "cancelled"
        assert (await bot.refused(offer, index=1))["details"] == {"reason": "cancelled"}
        assert completed(await finish(ada, sent["run"])) == [("writer", "look")] * 2


async def test_a_runner_that_was_overtaken_finds_nobody(pair: tuple[Door, Door], valkey: OwnValkey) -> None:
    """What a runner says that was frozen and does not know yet that another one has its run, and what nobody says."""
    redis = Redis.from_url(valkey.url)
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1)
        sent = await ada.say(session, "look")
        offer = await bot.offered()
        line = redis.pubsub()
        await line.subscribe("hub:bots:here")
        seek = {
            "type": "seek",
            "sender": "here",
            "session": session,
            "team": "desk",
            "agent": "scout",
            "turn": 0,
            "retry": 9,
        }
        for note in ("{", "[]", '{"type":"nonsense"}', json.dumps({**seek, "seek": 1})):
            await redis.publish("hub:bots", note)
        await redis.publish("hub:bots", json.dumps({**seek, "seek": "stale", "run": sent["run"], "attempt": 0}))
        await redis.publish("hub:bots", json.dumps({**seek, "seek": "fresh", "run": "another", "attempt": 1}))
        async with asyncio.timeout(30):
            while (heard := await line.get_message(timeout=None))["type"] != "message":
                pass
        answer = json.loads(heard["data"])
        assert (answer["type"], answer["seek"], answer["load"]) == ("here", "fresh", 1)
        await speak(bot.person, offer, text="mine all the time")
        assert completed(await finish(ada, sent["run"]))[0] == ("scout", "mine all the time")
        await line.aclose()  # type: ignore[no-untyped-call]
    await redis.aclose()


async def test_a_worker_that_is_gone_with_its_bot_is_missed_at_once(pair: tuple[Door, Door], valkey: OwnValkey) -> None:
    """Killed before it got the offer, and with the turn in its hands: nobody says so, Redis knows no listener."""
    redis = Redis.from_url(valkey.url)
    line = redis.pubsub()
    async with AsyncExitStack() as stack:
        ada, session, bot = await desk(stack, pair, bots=1, team="crossing")
        await line.subscribe("hub:bots")
        for gone in (True, False):
            await bot.person.ask("agent.register", agent="scout", session=session, turns=0)
            if not gone:
                await line.subscribe("hub:bots:nowhere")
            sent = await ada.say(session, "look")
            seek = await noted(line, "seek", run=sent["run"])
            here = {"type": "here", "seek": seek["seek"], "sender": "nowhere", "connection": "ghost", "load": 0}
            user = {"user": bot.person.hello["user"]["id"], "name": "ghost"}
            await redis.publish(f"hub:bots:{seek['sender']}", json.dumps({**here, **user}))
            if not gone:
                offer = (await noted(line, "offer", run=sent["run"]))["data"]["offer"]
                delta = {"type": "delta", "sender": "nowhere", "offer": offer, "index": 0, "text": "half a "}
                await redis.publish(f"hub:bots:{seek['sender']}", json.dumps(delta))
                await ada.expect("message.delta", index=0)
                await line.unsubscribe("hub:bots:nowhere")
            await noted(line, "seek", run=sent["run"], retry=1)
            await bot.person.ask("agent.register", agent="scout", session=session)
            again = await bot.offered()
            assert again["retry"] == 1
            await bot.person.ask("turn.complete", offer=again["offer"], text="whole")
            await ada.expect("message.completed", text="whole")
            frames = [frame for frame in ada.seen if frame.get("run") == sent["run"]]
            assert bool([f for f in frames if f["type"] == "turn.superseded"]) is not gone
            await ada.ask("run.cancel", session=session, run=sent["run"])
            await finish(ada, sent["run"])
        await line.aclose()  # type: ignore[no-untyped-call]
    await redis.aclose()


async def noted(line: Any, type_: str, **fields: Any) -> Frame:
    """The next note of this type between the workers, with these fields."""
    async with asyncio.timeout(30):
        while True:
            heard = await line.get_message(ignore_subscribe_messages=True, timeout=None)
            note: Frame = json.loads(heard["data"]) if heard is not None else {}
            if {**note, "type": type_, **fields} == note:
                return note


async def whole(door: Door) -> None:
    """Wait until the worker has found its Redis again."""
    async with door.rest() as rest, asyncio.timeout(30):
        while (await rest.get("/readyz")).json().get("checks", {}).get("redis") != "ok":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_without_redis_a_bot_beside_the_runner_goes_on_and_others_are_not_found(
    pair: tuple[Door, Door], valkey: OwnValkey
) -> None:
    async with AsyncExitStack() as stack:
        ada, session, near, far = await desk(stack, pair, team="hasty")
        valkey.stop()
        try:
            sent = await ada.say(session, "look")  # its own worker hears of the run first, and carries it out
            offer = await near.offered()
            await near.delta(offer, 0, "still ")
            await speak(near.person, offer, text="still here")
            assert completed(await finish(ada, sent["run"]))[0] == ("scout", "still here")
            await near.person.socket.close()
            sent = await ada.say(session, "look")
            assert (await finish(ada, sent["run"]))[-1]["data"]["error"]["code"] == "bot_unavailable"
        finally:
            valkey.start()
        for door in pair:
            await whole(door)
        sent = await ada.say(session, "look")
        ended = asyncio.create_task(finish(ada, sent["run"]))
        await speak(far.person, await far.offered(), text="found again")
        assert completed(await ended)[0] == ("scout", "found again")
