"""What sessions cost a worker in which something was said, and nothing happens now: they are to cost it no memory.

    HUB_USER_REQUESTS_PER_MINUTE=1000000 HUB_USER_REQUEST_BURST=100000 hub serve --workers 1 …
    python -m loadtests.idle_sessions --url http://127.0.0.1:8000 --sessions 2000

Each session has a question and an answer of a team on AutoGen, with its checkpoint. Memory is that of the hub's only
worker, on this machine, before them and after them; a tenth of them come first, so that what a worker needs once is
there already. Ends with 1 when a session costs more than the promise.
"""

import argparse
import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from websockets.asyncio.client import connect

from loadtests.account import Account
from loadtests.measure import usage, worker_pid

TEAM = "scripted-autogen"
AT_ONCE = 8
DEADLINE_S = 60.0
PROMISE_KIB = 2.0  # what an allocator keeps free of much short work is more than nothing


async def worker(url: str, account: Account) -> int:
    """The process of the hub's worker."""
    head = {"Authorization": f"Bearer {account.token()}"}
    async with connect(url.replace("http", "ws", 1) + "/v1/ws", additional_headers=head, proxy=None) as socket:
        hello = json.loads(str(await socket.recv()).split("\n")[0])
    pid = worker_pid(hello["node"])
    if pid is None:
        raise SystemExit("the hub's worker is not on this machine")
    return pid


def talk(account: Account, number: int) -> None:
    """A session with a question and its answer."""
    session = account.post("/v1/sessions", {"team": TEAM})["id"]
    account.post(f"/v1/sessions/{session}/messages", {"text": f"/script turns=1 tokens=20 seed={number}"})
    until = time.monotonic() + DEADLINE_S
    while account.get(f"/v1/sessions/{session}")["status"] != "idle":
        if time.monotonic() > until:
            raise TimeoutError(f"session {session} has not ended its run")
        time.sleep(0.05)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.idle_sessions", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the hub")
    parser.add_argument("--sessions", type=int, default=2_000)
    asked = parser.parse_args()
    account = Account(asked.url)
    pid = asyncio.run(worker(asked.url, account))
    first = max(1, asked.sessions // 10)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda number: talk(account, number), range(first)))
        before = usage([pid])
        list(threads.map(lambda number: talk(account, number), range(first, first + asked.sessions)))
    after = usage([pid])
    if before is None or after is None:
        raise SystemExit("the worker has ended")
    each = (after.rss_kib - before.rss_kib) / asked.sessions
    cpu_ms = (after.cpu_s - before.cpu_s) / asked.sessions * 1e3
    held = f"{before.rss_kib / 1024:.1f} MiB before, {after.rss_kib / 1024:.1f} MiB after"
    print(f"{asked.sessions} idle sessions: {held}; {each:.2f} KiB a session, {PROMISE_KIB:g} at most")
    print(f"{cpu_ms:.1f} ms of the worker's processor time for each, with its run")
    return int(each > PROMISE_KIB)


if __name__ == "__main__":
    sys.exit(main())
