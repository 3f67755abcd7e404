"""Slow peers, dead peers, and the hub's own leaving."""

import asyncio
import contextlib
import json

import pytest
from uvicorn._types import WebSocketScope
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from hub.gateway.heartbeat import Heartbeat
from hub.gateway.transport import HubWebSocket
from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person, seqs
from tests.gateway.server import Raw, eventually, frame, let_in, serving


async def raw_member(hub: Door, token: str, session: str, receive_buffer: int) -> Raw:
    """A client that has joined and reads no more."""
    port = int(hub.url.rsplit(":", 1)[1])
    headers = f"Authorization: Bearer {token}\r\n"
    raw = await Raw.open(port, "/v1/ws", headers, receive_buffer=receive_buffer)
    await raw.receive()
    raw.send(frame(json.dumps({"id": "1", "type": "session.join", "session": session}).encode()))
    await raw.receive()
    return raw


async def test_a_peer_that_takes_nothing_loses_its_connection_and_nobody_else_notices(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, outbox_bytes=65_536, stall_s=1)
    async with running_worker(settings) as hub, await hub.person("ada") as ada:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        deaf = await raw_member(hub, ada.token, session, 4_096)
        await ada.ask("session.join", session=session, after_seq=0)
        await ada.expect("presence.changed", name="ada", connections=2)
        for _ in range(40):
            await ada.say(session, "x" * 32_000)
        # The connection of the deaf peer has ended, and with it its presence.
        await ada.expect("presence.changed", name="ada", connections=1)
        numbers = seqs(ada.seen)
        assert numbers == list(range(1, numbers[-1] + 1))
        await ada.ask("ping")
        with contextlib.suppress(TimeoutError):
            assert await deaf.close_code() in (4001, None)  # None: it was dropped before it began to read
        await deaf.leave()


async def test_a_stopping_hub_says_so_and_takes_nobody_in(dsn: str, redis_url: str) -> None:
    people: list[Person] = []
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_worker(settings_for(dsn, redis_url)))
        token = await hub.register("ada")
        people = [await hub.enter(token) for _ in range(3)]
        session = (await people[0].ask("session.create", team="scripted"))["id"]
        await people[0].ask("session.join", session=session)
    # The worker has ended here; what it said is still to be read.
    waits = []
    for person in people:
        notice = await person.expect("server.draining")
        assert "session" not in notice
        waits.append(notice["data"]["reconnect_after_ms"])
        assert await person.closed() == 4000
        await person.socket.close()
    assert len(set(waits)) > 1  # each its own moment
    with pytest.raises((OSError, InvalidStatus)):
        await connect(hub.ws_url, proxy=None)


class Silence:
    """Accepts, and pings by hand."""

    def __init__(self) -> None:
        self.heartbeat = Heartbeat(5)
        self.transports: list[HubWebSocket] = []
        self.slots: list[int] = []

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        del request
        let_in(key, peer)
        self.slots.append(self.heartbeat.add(peer))
        self.transports.append(peer)


async def test_the_heartbeat_finds_the_dead_and_spares_the_living() -> None:
    app = Silence()
    async with serving(app) as port, connect(f"ws://127.0.0.1:{port}", proxy=None):  # answers pings by itself
        await eventually(lambda: len(app.transports) == 1)
        dead = await Raw.open(port)  # answers nothing
        await eventually(lambda: len(app.transports) == 2)
        living, silent = app.transports

        async def tick() -> None:
            app.heartbeat.tick()
            await eventually(lambda: not living.is_silent)

        for _ in range(5):  # each is pinged once in an interval
            if not silent.is_silent:
                await tick()
        assert silent.is_silent
        for _ in range(3):  # and has three fifths of it to answer
            assert not silent.disconnected
            await tick()
        await eventually(lambda: silent.disconnected)
        assert not living.disconnected
        for transport, slot in zip(app.transports, app.slots, strict=True):
            app.heartbeat.remove(transport, slot)
        app.heartbeat.tick()
        await dead.leave()


async def test_frames_written_to_a_connection_that_is_gone_reach_nobody_else(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        await ada.ask("session.join", session=session)
        await ada.say(session, "/script turns=1 tokens=200 rate=100")
        await ada.expect("message.delta")
        strangers = []
        for _ in range(10):  # sockets that come and go while tokens are written
            leaving = await hub.enter(ada.token)
            await leaving.ask("session.join", session=session)
            leaving.socket.transport.abort()
            strangers.append(await hub.enter(ada.token))
        await ada.expect("run.finished")
        for stranger in strangers:
            await stranger.ask("ping")
            assert [f["type"] for f in stranger.seen] == ["hello", "reply"]
            await stranger.socket.close()
        async with asyncio.timeout(30):
            await ada.expect("presence.changed", name="ada", connections=1)
