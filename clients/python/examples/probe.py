"""A program in a team of agents: it looks at this machine and tells the team `ops` what it sees.

    .venv/bin/python clients/python/examples/probe.py "How is this machine?"

signs up at the hub of `python3 dev.py run`, opens a session with the team, asks, and prints what everybody says.
Without a question it only serves, wherever its user is an editor; with HUB_API_KEY in the environment, as the key's.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from hub.protocol.events import MessageCompleted, MessageDelta, RunFinished, TurnStarted
from hub_client import Bot, HubClientError, Rest, Turn, connect


def findings() -> dict[str, str]:
    """What there is to see, found one after the other."""
    load = os.getloadavg()
    disk = shutil.disk_usage("/")
    memory = Path("/proc/meminfo")
    seen = {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": f"{load[0]:.2f} {load[1]:.2f} {load[2]:.2f} on {os.cpu_count()} cores",
        "disk": f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free",
    }
    if memory.exists():
        kib = {line.split(":")[0]: int(line.split()[1]) for line in memory.read_text().splitlines()}
        seen["memory"] = f"{kib['MemAvailable'] / 2**20:.1f} of {kib['MemTotal'] / 2**20:.1f} GiB available"
    return seen


async def probe(turn: Turn) -> AsyncIterator[str]:
    """Speak a turn: every piece that is yielded is on everybody's screen at once."""
    yield f"I was asked: {turn.prompt}\n"
    for what, value in findings().items():
        await asyncio.sleep(0.2)  # as if it took a while to find out
        yield f"- {what}: {value}\n"


async def ask(url: str, sign_in: dict[str, str], session_id: str, question: str) -> None:
    """Ask, and print what everybody says as they say it."""
    async with connect(url, **sign_in) as hub:  # type: ignore[arg-type]
        session = await hub.join(session_id)
        await session.send(question)
        async for event in session.events():
            match event:
                case TurnStarted():
                    print(f"\n{event.data.agent}:", flush=True)
                case MessageDelta():
                    print(event.data.text, end="", flush=True)
                case MessageCompleted():
                    print(flush=True)
                case RunFinished():
                    if event.data.error is not None:
                        print(event.data.error.message, file=sys.stderr)
                    return
                case _:
                    pass


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("question", nargs="?", help="what to ask the team; without it: only serve")
    options.add_argument("--url", default="http://127.0.0.1:8000")
    given = options.parse_args()

    if key := os.environ.get("HUB_API_KEY"):
        sign_in = {"api_key": key}
    else:
        sign_in = {"name": f"probe-{secrets.token_hex(3)}", "password": secrets.token_urlsafe(16)}
        async with Rest(given.url) as rest:
            await rest.register(**sign_in)
        print(f"signed up as {sign_in['name']}; invite it as an editor where it is to speak", flush=True)

    bot = Bot(given.url, **sign_in)
    bot.agent("probe")(probe)
    if given.question is None:
        await bot.serve(lambda _: print("taking turns; end with Ctrl-C", flush=True))
        return
    registered = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(bot.serve(lambda _: registered.set()))
        await registered.wait()
        async with connect(given.url, **sign_in) as hub:  # type: ignore[arg-type]
            opened = await hub.create_session("ops", title="A look at this machine")
        await ask(given.url, sign_in, opened.id, given.question)
        serving.cancel()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except HubClientError as e:
        sys.exit(f"probe: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
