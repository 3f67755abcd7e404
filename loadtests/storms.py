"""Storms against a hub of this machine, while somebody well-behaved talks and a probe asks for its health.

    python -m loadtests.storms                     # all, on a hub started for it; about two minutes
    python -m loadtests.storms --only pings,bombs --seconds 20

Each storm comes from a process of its own at low priority: on a real network it would not take the hub's processors.
It targets 127.0.0.1 only, with a bounded number of connections, and ends by itself. Ends with 1 when the well-behaved
client waited more than 200 ms for one in a hundred acknowledgements, a probe failed, something was lost, or a worker
grew by more than its bound.
"""

import argparse
import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from loadtests.account import Account
from loadtests.cases import allow_many_files, sessions_for, watching, wrong
from loadtests.judge import script
from loadtests.measure import milliseconds, percentile, usage, worker_pid
from loadtests.run import own_hub
from loadtests.watcher import Watcher
from loadtests.wire import PING, TEXT, masked

P99_LIMIT_S = 0.2
GROWTH_LIMIT_MIB = 96  # of all workers together, in one storm: what its connections may hold
TALKERS = 12
TALK_EVERY_S = 0.6  # a connection has two commands a second
PROBE_EVERY_S = 0.1
HANDSHAKE_S = 15.0


class Attacker:
    """One connection after the other that does the same; `seen` counts how the hub ended them."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self.seen: Counter[str] = Counter()

    async def repeat(self, act: Callable[["Attacker"], Awaitable[None]], until: float) -> None:
        """Act again and again, with a moment between connections."""
        while time.monotonic() < until:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic() + 1):
                    await act(self)
            except TimeoutError:
                self.seen["held to the end"] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                self.seen[type(error).__name__] += 1
            await asyncio.sleep(0.02)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A WebSocket that is authenticated."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            (
                f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Extensions: permessage-deflate\r\n"
                f"Sec-WebSocket-Protocol: hub.v1\r\nAuthorization: Bearer {self.token}\r\n\r\n"
            ).encode()
        )
        async with asyncio.timeout(HANDSHAKE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            self.seen[f"handshake {status}"] += 1
            writer.close()
            raise ConnectionError(status)
        return reader, writer

    async def pour(self, piece: bytes) -> None:
        """Send the same again and again until the hub ends it, reading what it says."""
        reader, writer = await self.open()
        listening = asyncio.create_task(self._listen(reader))
        try:
            while not listening.done():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Read to the end and note the close code."""
        last = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                last = (last + data)[-128:]
        at = last.rfind(b"\x88")
        code = int.from_bytes(last[at + 2 : at + 4], "big") if 0 <= at <= len(last) - 4 else 0
        self.seen[f"closed with {code}" if code else "cut"] += 1


def _continued(opcode: int, payload: bytes) -> bytes:
    """A fragment that says that more follows."""
    frame = bytearray(masked(opcode, payload))
    frame[0] &= 0x7F
    return bytes(frame)


async def flood(attacker: Attacker) -> None:
    """Commands as fast as they can be written."""
    await attacker.pour(masked(TEXT, b'{"id":"1","type":"ping"}') * 64)


async def rubbish(attacker: Attacker) -> None:
    """Frames that are no commands: deep, wide, wrong."""
    await attacker.pour(masked(TEXT, b"[" * 60_000) + masked(TEXT, b'{"id":' + b"9" * 60_000 + b"}"))


async def fragments(attacker: Attacker) -> None:
    """A message that never ends."""
    await attacker.pour(_continued(TEXT, b"{") + _continued(0, b" ") * 64)


async def pings(attacker: Attacker) -> None:
    """Control frames only."""
    await attacker.pour(masked(PING, b"x" * 100) * 64)


async def bombs(attacker: Attacker) -> None:
    """Compressed frames that nobody has agreed on, and frames that promise a terabyte."""
    compressed = bytearray(masked(TEXT, zlib.compress(b"\0" * 10_000_000)[2:-4][:60_000]))
    compressed[0] |= 0x40
    promise = b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"\0\0\0\0" + b"x" * 1024
    await attacker.pour(bytes(compressed) if time.monotonic_ns() % 2 else promise)


async def slow_headers(attacker: Attacker) -> None:
    """A request that comes letter by letter."""
    reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port)
    listening = asyncio.create_task(reader.read(64))
    try:
        writer.write(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        while not listening.done():
            writer.write(b"a")
            await asyncio.wait([listening], timeout=0.5)
        attacker.seen[f"answered {listening.result()[9:12].decode() or 'nothing'}"] += 1
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        writer.close()


async def deaf(attacker: Attacker) -> None:
    """Follows a session in which much is said, and reads nothing."""
    reader, writer = await attacker.open()
    ask = {"id": "1", "type": "session.create", "team": "scripted"}
    writer.write(masked(TEXT, json.dumps(ask).encode()))
    buffer = b""
    while b'"last_seq"' not in buffer:
        buffer += await reader.read(65_536)
    session = json.loads(buffer[buffer.index(b'{"type":"reply"') :].split(b"\n")[0].split(b"\x81")[0])["result"]["id"]
    writer.write(masked(TEXT, json.dumps({"id": "2", "type": "session.join", "session": session}).encode()))
    say = {"id": "3", "type": "message.send", "session": session, "client_id": "1", "text": script(100_000, 0)}
    writer.write(masked(TEXT, json.dumps(say).encode()))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(3600)  # until the storm ends


async def sign_ins(attacker: Attacker) -> None:
    """Guesses of a password."""

    def guess() -> int:
        form = b"grant_type=password&username=nobody&password=wrong-password"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{attacker.port}/v1/auth/token", form, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    attacker.seen[f"answered {await asyncio.to_thread(guess)}"] += 1


STORMS: dict[str, tuple[Callable[[Attacker], Awaitable[None]], int]] = {
    "flood": (flood, 50),
    "rubbish": (rubbish, 20),
    "fragments": (fragments, 50),
    "pings": (pings, 50),
    "bombs": (bombs, 50),
    "slow_headers": (slow_headers, 500),
    "deaf": (deaf, 10),
    "sign_ins": (sign_ins, 32),
}


async def storm(name: str, port: int, token: str, seconds: float) -> None:
    """Be the storm; prints what the hub did about it."""
    act, count = STORMS[name]
    attacker, until = Attacker(port, token), time.monotonic() + seconds
    await asyncio.gather(*(attacker.repeat(act, until) for _ in range(count)))
    print(json.dumps(dict(attacker.seen)))


# ---- the other side


async def _talk(talker: Watcher, session: str) -> None:
    while True:
        run = await talker.say(session, script(2, 0))
        await talker.finished(run, 20)
        await asyncio.sleep(TALK_EVERY_S)


async def _probe(url: str, failures: list[str]) -> None:
    def ask() -> str:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
                return "" if answer.status == 200 else str(answer.status)
        except OSError as error:
            return str(error)

    while True:
        if failure := await asyncio.to_thread(ask):
            failures.append(failure)
        await asyncio.sleep(PROBE_EVERY_S)


async def weather(name: str, url: str, account: Account, seconds: float) -> list[str]:
    """One storm (or none), and what of the promises did not hold in it."""
    async with watching(url, account, TALKERS) as talkers:
        return await _weather(name, url, talkers, await sessions_for(talkers), seconds)


async def _weather(name: str, url: str, talkers: list[Watcher], sessions: list[str], seconds: float) -> list[str]:
    failures: list[str] = []
    pids = sorted({pid for talker in talkers if (pid := worker_pid(talker.hello["node"])) is not None})
    before = usage(pids)
    tasks = [asyncio.create_task(_talk(t, s)) for t, s in zip(talkers, sessions, strict=True)]
    tasks.append(asyncio.create_task(_probe(url, failures)))
    seen = "–"
    if name == "calm":
        await asyncio.sleep(seconds)
    else:
        command = [sys.executable, "-m", "loadtests.storms", "--url", url, "--storm", name, "--seconds", str(seconds)]
        attack = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, env={**os.environ, "STORM_TOKEN": await _somebody(url)}
        )
        out, _ = await asyncio.wait_for(attack.communicate(), seconds + 60)
        seen = out.decode().strip()
    broken = [f"{type(e).__name__}: {e}" for task in tasks if task.done() and (e := task.exception()) is not None]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    after = usage(pids)
    acks = [ack for talker in talkers for ack in talker.acks]
    growth = (after.rss_kib - before.rss_kib) / 1024 if before is not None and after is not None else 0.0
    print(f"{name:<13} ack ms {milliseconds(acks)} of {len(acks)}; grew {growth:.0f} MiB; the hub: {seen}", flush=True)
    if percentile(acks, 0.99) > P99_LIMIT_S or not acks:
        broken.append(f"p99 of an acknowledgement was {percentile(acks, 0.99):.3f} s")
    if failures:
        broken.append(f"{len(failures)} probes failed, first: {failures[0]}")
    if growth > GROWTH_LIMIT_MIB:
        broken.append(f"the workers grew by {growth:.0f} MiB")
    if found := wrong(talkers):
        broken.append(f"lost or wrong: {dict(found)}")
    return [f"{name}: {what}" for what in broken]


async def _somebody(url: str) -> str:
    """A token of a user of the storm's own: it may not talk its victim's allowance away."""
    return await asyncio.to_thread(Account(url).token)


async def run(url: str, names: list[str], seconds: float) -> int:
    """All storms, one after the other."""
    account, broken = Account(url), []
    for name in ["calm", *names]:
        broken += await weather(name, url, account, seconds)
    print("all promises hold" if not broken else "BROKEN:\n" + "\n".join(broken))
    return 1 if broken else 0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.storms", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="a hub of this machine that runs already; else one is started")
    parser.add_argument("--only", help="storms, with commas: " + ", ".join(STORMS))
    parser.add_argument("--seconds", type=float, default=12, help="of each storm (12)")
    parser.add_argument("--storm", choices=STORMS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    allow_many_files()
    if asked.storm:
        os.nice(10)
        port = int(asked.url.rsplit(":", 1)[1])
        uvloop.run(storm(asked.storm, port, os.environ["STORM_TOKEN"], asked.seconds))
        return 0
    names = asked.only.split(",") if asked.only else list(STORMS)
    if unknown := set(names) - set(STORMS):
        parser.error(f"there is no storm {', '.join(sorted(unknown))}; there are {', '.join(STORMS)}")
    results = Path(__file__).resolve().parent / "results"
    results.mkdir(exist_ok=True)
    with contextlib.nullcontext(asked.url) if asked.url else own_hub(2, results / "storms.log") as url:
        if not url.startswith(("http://127.0.0.1:", "http://localhost:")):
            parser.error("storms are for a hub of this machine")
        return uvloop.run(run(url, names, asked.seconds))


if __name__ == "__main__":
    sys.exit(main())
