"""How soon a turn begins in a session that grows long.

    HUB_COMMANDS_PER_MINUTE=1000000 HUB_COMMAND_BURST=1000 hub serve …
    python -m loadtests.long_session --url http://127.0.0.1:8000 --messages 2000

Questions and answers follow each other in one session with a team on AutoGen; of the first and of the last turns it
says how long they took from the question to `turn.started` and to the first word. Ends with 1 when half of the last
turns took longer than the promise.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from loadtests.account import Account
from loadtests.measure import milliseconds, percentile

TEAM = "scripted-autogen"
PROMISE_S = 0.05
MEASURED = 50  # turns at either end
DEADLINE_S = 30.0


async def grow(url: str, messages: int) -> list[tuple[float, float]]:
    """A session with so many messages; of each turn the seconds until it began, and until its first word."""
    account = Account(url)
    session = account.post("/v1/sessions", {"team": TEAM})["id"]
    head = {"Authorization": f"Bearer {account.token()}"}
    took = list[tuple[float, float]]()
    async with connect(url.replace("http", "ws", 1) + "/v1/ws", additional_headers=head, proxy=None) as socket:
        await _ask(socket, {"id": "join", "type": "session.join", "session": session, "after_seq": 0})
        for number in range(messages // 2):
            text = f"/script turns=1 tokens=40 seed={number}"
            command = {"type": "message.send", "session": session, "text": text, "client_id": str(number)}
            took.append(await _turn(socket, {"id": str(number), **command}))
    return took


async def _ask(socket: ClientConnection, command: dict[str, Any]) -> None:
    await socket.send(json.dumps(command))
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for frame in _frames(await socket.recv()):
                if frame["type"] == "reply" and frame["id"] == command["id"]:
                    if not frame["ok"]:
                        raise RuntimeError(frame["error"]["message"])
                    return


async def _turn(socket: ClientConnection, command: dict[str, Any]) -> tuple[float, float]:
    seen = dict[str, float]()
    asked = time.perf_counter()
    await socket.send(json.dumps(command))
    async with asyncio.timeout(DEADLINE_S):
        while "run.finished" not in seen:
            for frame in _frames(await socket.recv()):
                if frame["type"] == "reply" and not frame["ok"]:
                    raise RuntimeError(frame["error"]["message"])
                seen.setdefault(frame["type"], time.perf_counter() - asked)
    return seen["turn.started"], seen["message.delta"]


def _frames(payload: str | bytes) -> list[dict[str, Any]]:
    text = payload if isinstance(payload, str) else payload.decode()
    return [json.loads(line) for line in text.split("\n")]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.long_session", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the hub")
    parser.add_argument("--messages", type=int, default=2_000)
    asked = parser.parse_args()
    took = asyncio.run(grow(asked.url, asked.messages))
    for name, turns in (("first", took[:MEASURED]), ("last", took[-MEASURED:])):
        began, word = [turn[0] for turn in turns], [turn[1] for turn in turns]
        print(f"{name} {len(turns)} turns: begin {milliseconds(began)} ms, first word {milliseconds(word)} ms")
    return int(percentile([turn[0] for turn in took[-MEASURED:]], 0.5) > PROMISE_S)


if __name__ == "__main__":
    sys.exit(main())
