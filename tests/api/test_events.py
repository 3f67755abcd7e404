"""The log over REST: pages, a stream that follows it, and the transcript. All agree with what the socket told."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from hub.api.stream import StreamSlots
from hub.auth.places import Places
from hub.domain.errors import RateLimited, Unavailable
from hub.domain.ids import UserId
from hub.domain.principal import Principal
from hub.relay.holdings import Holdings
from hub.relay.pipeline import Pipeline
from tests.api.people import Json, fresh, open_session, problem, somebody
from tests.conftest import running_worker, settings_for
from tests.driver import Door, seqs


async def converse(
    hub: Door, rest: httpx2.AsyncClient, session: str, text: str = "/script turns=2 tokens=3"
) -> list[Json]:
    """Send a message, follow over a socket until the run has ended; gives the durable events as they came."""
    async with await hub.enter(rest.headers["authorization"].split()[1]) as person:
        await person.ask("session.join", session=session, after_seq=0)
        await person.say(session, text)
        frames = await person.until("run.finished")
        return [frame for frame in frames if "seq" in frame]


# ---- pages


async def test_pages_are_the_log_as_the_socket_told_it(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        told = await converse(hub, rest, session)
        answer = await rest.get(f"/v1/sessions/{session}/events")
        assert answer.headers["content-type"] == "application/json"
        page = answer.json()
        assert page == {"items": told, "last_seq": len(told)}
        paged: list[Json] = []
        while len(paged) < page["last_seq"]:
            params = {"after_seq": len(paged), "limit": 3}
            paged += (await rest.get(f"/v1/sessions/{session}/events", params=params)).json()["items"]
        assert paged == told
        assert seqs(paged) == list(range(1, len(told) + 1))


async def test_the_end_of_the_log_and_what_lies_beyond(hub: Door) -> None:
    async with somebody(hub) as rest:
        here = f"/v1/sessions/{await open_session(rest)}/events"
        last = (await rest.get(here)).json()["last_seq"]
        assert (await rest.get(here, params={"after_seq": last})).json() == {"items": [], "last_seq": last}
        for path in (here, f"{here}/stream"):
            told = problem(await rest.get(path, params={"after_seq": last + 1}), 400, "bad_request")
            assert told["details"] == {"last_seq": last}


@pytest.mark.parametrize(
    "params", [{"after_seq": "-1"}, {"after_seq": "x"}, {"after_seq": str(2**53)}, {"limit": "0"}, {"limit": "1001"}]
)
async def test_a_position_that_cannot_be(hub: Door, params: dict[str, str]) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        problem(await rest.get(f"/v1/sessions/{session}/events", params=params), 400, "bad_request")


# ---- the stream


class Events:
    """Reads Server-Sent Events."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> dict[str, str]:
        """The next event's fields; empty at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(90):
            async for line in self._lines:
                if not line and "data" in fields:
                    return fields
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
        return {}

    async def until(self, type_: str) -> list[dict[str, str]]:
        """All events up to and with the next of this type."""
        found = [await self.next()]
        while found[-1].get("event") != type_:
            assert found[-1], f"the stream ended before {type_}"
            found.append(await self.next())
        return found


@asynccontextmanager
async def following(rest: httpx2.AsyncClient, session: str, **options: Any) -> AsyncGenerator[Events]:
    async with rest.stream("GET", f"/v1/sessions/{session}/events/stream", **options) as answer:
        assert answer.status_code == 200
        yield Events(answer)


async def test_the_stream_replays_and_follows(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        async with following(rest, session) as events:
            assert events.answer.headers["content-type"].startswith("text/event-stream")
            assert events.answer.headers["cache-control"] == "no-store"
            first = await events.next()
            assert (first["id"], first["event"]) == ("1", "session.created")
            await converse(hub, rest, session)
            await events.until("run.finished")
        log = (await rest.get(f"/v1/sessions/{session}/events")).json()["items"]
        async with following(rest, session, headers={"Last-Event-ID": "2"}, params={"after_seq": 0}) as events:
            again = await events.until("run.finished")
        assert [json.loads(event["data"]) for event in again] == log[2:]
        assert [event["id"] for event in again] == [str(seq) for seq in seqs(log[2:])]


async def test_the_stream_tells_what_happens_when_it_happens(hub: Door) -> None:
    """Not when the follower next looks by itself, every 2 s: that would take 50."""
    async with somebody(hub) as rest:
        session = await open_session(rest)
        async with following(rest, session) as events, asyncio.timeout(40):
            await events.until("member.added")
            for number in range(25):
                await rest.patch(f"/v1/sessions/{session}", json={"title": f"title {number}"})
                (told,) = await events.until("session.updated")
                assert json.loads(told["data"])["data"]["title"] == f"title {number}"


@pytest.mark.parametrize("position", ["-1", "x", "1.5", "9" * 20])
async def test_a_last_event_id_that_cannot_be(hub: Door, position: str) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        answer = await rest.get(f"/v1/sessions/{session}/events/stream", headers={"Last-Event-ID": position})
        problem(answer, 400, "bad_request")


async def test_the_stream_ends_with_the_membership(hub: Door) -> None:
    bob_name = fresh("bob")
    async with somebody(hub) as ann, somebody(hub, bob_name) as bob:
        session = await open_session(ann)
        await ann.put(f"/v1/sessions/{session}/members/{bob_name}", json={"role": "viewer"})
        async with following(bob, session) as events:
            await events.until("member.added")
            await ann.delete(f"/v1/sessions/{session}/members/{bob_name}")
            while event := await events.next():
                assert event["event"] in ("member.added", "member.removed")


async def test_the_stream_ends_with_the_credential(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        async with following(rest, session) as events:
            await events.until("member.added")
            await rest.post("/v1/auth/revoke")
            assert await events.next() == {}


async def test_the_stream_ends_when_the_worker_drains(dsn: str, redis_url: str) -> None:
    async def follow(door: Door, begun: asyncio.Event) -> None:
        async with somebody(door) as rest, following(rest, await open_session(rest)) as events:
            await events.until("member.added")
            begun.set()
            assert await events.next() == {}

    async with asyncio.TaskGroup() as tasks:
        async with running_worker(settings_for(dsn, redis_url)) as door:
            begun = asyncio.Event()
            ended = tasks.create_task(follow(door, begun))
            async with asyncio.timeout(90):
                await begun.wait()
        async with asyncio.timeout(90):
            await ended


async def test_streams_are_bounded() -> None:
    slots = StreamSlots(2, Places("event streams", Holdings(Pipeline("unix:///nowhere.sock")), 1))
    ann, bob, eve = [
        Principal(UserId(name), name, False, 1, "token:x", datetime.now(UTC)) for name in ("ann", "bob", "eve")
    ]
    slot = await slots.take(ann)
    with pytest.raises(RateLimited):
        await slots.take(ann)
    await slots.take(bob)
    with pytest.raises(Unavailable):
        await slots.take(eve)
    slot.release()
    slot.release()
    await slots.take(ann)
    with pytest.raises(Unavailable):
        await slots.take(eve)


async def test_nobody_has_all_the_streams(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, streams_per_user=1, streams_per_organisation=2)
    async with (
        running_worker(settings) as door,
        running_worker(settings, "test:2:b") as other,
        somebody(door, "ada") as ada,
        somebody(door, "bob") as bob,
        somebody(door, "cyd") as cyd,
    ):
        session = await open_session(ada)
        async with following(ada, session) as events:
            await events.until("member.added")
            async with other.rest(ada.headers["authorization"].split()[1]) as there:
                for rest in (ada, there):
                    refused = await rest.get(f"/v1/sessions/{session}/events/stream")
                    problem(refused, 429, "rate_limited")
                    assert refused.headers["retry-after"]
            async with following(bob, await open_session(bob)) as theirs:
                await theirs.until("member.added")
                refused = await cyd.get(f"/v1/sessions/{await open_session(cyd)}/events/stream")
                assert "organisation" in problem(refused, 429, "rate_limited")["detail"]


# ---- the transcript


async def test_the_transcript_in_every_form(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        told = await converse(hub, rest, session)
        here = f"/v1/sessions/{session}/transcript"
        answer = await rest.get(here)
        assert answer.headers["content-type"] == "application/json"
        transcript = answer.json()
        assert transcript["session"] == session
        messages = transcript["messages"]
        assert [m["text"] for m in messages] == [
            e["data"]["text"] for e in told if e["type"] in ("message.created", "message.completed")
        ]
        assert [m["seq"] for m in messages] == [
            e["seq"] for e in told if e["type"] in ("message.created", "message.completed")
        ]
        assert all(set(m) == {"message", "seq", "run", "author", "text", "status", "created_at"} for m in messages)
        assert [m["author"]["kind"] for m in messages] == ["user", "agent", "agent"]
        lines = await rest.get(here, params={"format": "jsonl"})
        assert lines.headers["content-type"] == "application/jsonl"
        assert [json.loads(line) for line in lines.text.splitlines()] == messages
        markdown = await rest.get(here, params={"format": "markdown"})
        assert markdown.headers["content-type"].startswith("text/markdown")
        assert [line for line in markdown.text.splitlines() if line in [m["text"].strip() for m in messages]]
        problem(await rest.get(here, params={"format": "pdf"}), 400, "bad_request")


async def test_an_empty_transcript(hub: Door) -> None:
    async with somebody(hub) as rest:
        here = f"/v1/sessions/{await open_session(rest)}/transcript"
        assert (await rest.get(here)).json()["messages"] == []
        assert (await rest.get(here, params={"format": "jsonl"})).text == ""


async def test_a_long_transcript_is_whole(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        await converse(hub, rest, session, "/script turns=30 tokens=1")
        messages = (await rest.get(f"/v1/sessions/{session}/transcript")).json()["messages"]
        assert [m["text"] for m in messages[1:]] == [f"t{n}.0 " for n in range(30)]
