"""Faults of having too little, and of people who mean no good: memory, disk, time and files run out; floods."""

import asyncio
import json
import os
import random
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.driver import NO_TLS
from tests.faults.rig import Node, Rig

FULL = """
CREATE FUNCTION rig.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER rig_full BEFORE INSERT ON public.events FOR EACH ROW EXECUTE FUNCTION rig.full();
"""
NOT_FULL = "DROP TRIGGER rig_full ON public.events; DROP FUNCTION rig.full()"

POISON: tuple[str | bytes, ...] = (
    "",
    "\x00",
    "null",
    "[]",
    "{" * 50_000,
    '{"id":"1","type":"message.send"' + ',"a":{"a":' * 5_000,
    '{"id":"1","id":"2","type":"ping"}',
    '{"id":"1","type":"ping","n":NaN}',
    '{"id":"1","type":"message.send","session":"\\ud800","text":"\\u0000\\ud83d"}',
    '{"id":' + "9" * 10_000 + ',"type":"ping"}',
    json.dumps({"id": "1", "type": "session.join", "session": "x" * 60_000}),
    json.dumps({"id": "1", "type": "no.such", "data": {}}),
    b"\xff\xfe\x00 binary",
    b"",
)


async def full_valkey(rig: Rig, rng: random.Random) -> None:
    """F9: Valkey has no memory left: it refuses to write, and still delivers."""
    await rig.redis("CONFIG", "SET", "maxmemory", "1")
    try:
        await asyncio.sleep(rng.uniform(1, 6))
    finally:
        await rig.redis("CONFIG", "SET", "maxmemory", "0")


async def full_disk(rig: Rig, rng: random.Random) -> None:
    """F15: PostgreSQL can write no event, and says that the disk is full."""
    await rig.sql(FULL)
    try:
        await asyncio.sleep(rng.uniform(1, 5))
    finally:
        await rig.sql(NOT_FULL)


async def starve_node(rig: Rig, rng: random.Random) -> None:
    """F32: a tenth of a processor is left for one node."""
    family = rng.choice(rig.nodes).family()
    until = time.monotonic() + rng.uniform(3, 8)
    try:
        while time.monotonic() < until:
            _signal(family, signal.SIGSTOP)
            await asyncio.sleep(0.09)
            _signal(family, signal.SIGCONT)
            await asyncio.sleep(0.01)
    finally:
        _signal(family, signal.SIGCONT)


def _signal(family: list[int], sig: signal.Signals) -> None:
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, sig)


async def no_more_files(rig: Rig, rng: random.Random) -> None:
    """F34: a worker may open no more files than it has; people want to come in."""
    node = rng.choice(rig.nodes)
    limits: list[tuple[int, tuple[int, int]]] = []
    sockets: list[asyncio.StreamWriter] = []
    try:
        for pid in node.workers():
            with suppress(OSError):
                before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (_files(pid) + 2, before[1]))
                limits.append((pid, before))
        for _ in range(30):
            sockets.append((await asyncio.open_connection("127.0.0.1", node.port))[1])
        await asyncio.sleep(rng.uniform(1, 4))
    finally:
        for pid, before in limits:
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for socket in sockets:
            socket.transport.abort()


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def slow_headers(rig: Rig, rng: random.Random) -> None:
    """F21: hundreds of handshakes that come byte by byte."""
    node = rng.choice(rig.nodes)
    sockets: list[asyncio.StreamWriter] = []
    try:
        for _ in range(300):
            sockets.append((await asyncio.open_connection("127.0.0.1", node.port))[1])
            sockets[-1].write(b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        until = time.monotonic() + rng.uniform(2, 5)
        while time.monotonic() < until:
            for socket in sockets:
                socket.write(b"a")
            await asyncio.sleep(0.5)
        began = time.monotonic()
        assert (await node.get("/healthz")).status_code == httpx2.codes.OK
        assert time.monotonic() - began < 1, "others wait for those who are slow"
    finally:
        for socket in sockets:
            socket.transport.abort()


async def storm_of_sign_ins(rig: Rig, rng: random.Random) -> None:
    """F23: a hundred people who do not know their password, at once."""
    node = rng.choice(rig.nodes)
    async with httpx2.AsyncClient(base_url=node.url, verify=NO_TLS, timeout=30) as rest:

        async def guess(number: int) -> int:
            form = {"grant_type": "password", "username": f"nobody{number}", "password": f"guess {rng.random()}"}
            return (await rest.post("/v1/auth/token", data=form)).status_code

        async with asyncio.TaskGroup() as guesses:
            tasks = [guesses.create_task(guess(number)) for number in range(100)]
    answers = {task.result() for task in tasks}
    assert answers <= {400, 401, 429, 503}, f"guesses of passwords were answered {answers}"


async def flood(rig: Rig, rng: random.Random) -> None:
    """F20, F26: three members say what is no command, as fast as they can; in frames too large, in bytes, in pings."""
    node = rng.choice(rig.nodes)
    async with asyncio.TaskGroup() as group:
        for token in rng.sample(list(rig.tokens.values()), min(3, len(rig.tokens))):
            group.create_task(_flood(node, token, random.Random(rng.random())))


async def _flood(node: Node, token: str, rng: random.Random) -> None:
    until = time.monotonic() + rng.uniform(2, 4)
    while time.monotonic() < until:
        with suppress(OSError, TimeoutError, WebSocketException):
            async with (
                asyncio.timeout(4),
                connect(
                    node.url.replace("http", "ws", 1) + "/v1/ws",
                    additional_headers={"Authorization": f"Bearer {token}"},
                    subprotocols=["hub.v1"],  # type: ignore[list-item]
                    proxy=None,
                    compression=None,
                    close_timeout=0.2,
                ) as socket,
            ):
                await rng.choice((_say_junk, _ping, _fragments, _too_much))(socket, rng)
        await asyncio.sleep(0.1)


async def _say_junk(socket: ClientConnection, rng: random.Random) -> None:
    for _ in range(300):
        await socket.send(rng.choice(POISON))


async def _ping(socket: ClientConnection, _: random.Random) -> None:
    for number in range(2_000):
        await socket.ping(f"{number}")
        await socket.send(json.dumps({"id": f"{number}", "type": "ping"}))


async def _fragments(socket: ClientConnection, _: random.Random) -> None:
    await socket.send("x" for _ in range(5_000))


async def _too_much(socket: ClientConnection, _: random.Random) -> None:
    await socket.send("x" * 16_777_216)
