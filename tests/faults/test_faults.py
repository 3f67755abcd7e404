"""A short, fixed selection of the faults, under load, one after the other: F1, F3, F5, F10, F12, F17, F18.

The rest is in `python3 dev.py faults`.
"""

import asyncio
import json
import os
import random
import signal
import socket
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.faults.clients import Client
from tests.faults.load import Load, Words
from tests.faults.nemesis import Baseline, Verdict, judge
from tests.faults.rig import Node, Rig, rig, until

LEASE_S = 2
HELD = "SELECT lease_node FROM runs WHERE status = 'running' AND lease_until > clock_timestamp()"
ENOUGH = 30  # acknowledged messages: a slow machine gets the time to make them


def _words(rng: random.Random) -> Words:
    return f"/script turns=2 tokens={rng.choice((3, 25))} rate=30", {}


@pytest.mark.timeout(300)
async def test_the_hub_is_exact_under_faults() -> None:
    verdict, rng = Verdict("short", 11), random.Random(11)
    async with (
        rig(nodes=2, seed=11, lease_s=str(LEASE_S), grace_s="4", stall_s="2") as hub,
        asyncio.TaskGroup() as group,
    ):
        one, two = hub.nodes
        load = Load(hub, rng, users=3, sessions=6, words=_words, patience=1.0)
        baseline = await Baseline.of(hub)
        await load.start(group, teams=("scripted", "scripted-autogen", "relayed"))
        await asyncio.sleep(1)

        async with await _sloth(hub, load):  # F18
            os.kill(one.workers()[0], signal.SIGKILL)  # F1
            await until(lambda: _serves(one.url), "the supervisor starts another worker", 60)
            hub.signal_valkey(signal.SIGKILL)  # F5
            await asyncio.sleep(0.5)
            await hub.start_valkey()
            await asyncio.sleep(1)

        backends = await hub.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'agent-hub'")
        os.kill(backends[0]["pid"], signal.SIGKILL)  # F10
        await asyncio.sleep(1.5)

        hub.signal_postgres(signal.SIGSTOP, all_of_it=True)  # F12
        await asyncio.sleep(1)
        hub.signal_postgres(signal.SIGCONT, all_of_it=True)
        await asyncio.sleep(1)

        await until(lambda: _runs_at(hub), "a worker runs something", 30)
        frozen = (await _runs_at(hub) or two.workers())[0]
        os.kill(frozen, signal.SIGSTOP)  # F17
        await asyncio.sleep(2 * LEASE_S)
        os.kill(frozen, signal.SIGCONT)
        await asyncio.sleep(0.5)

        await until(lambda: _all_connected(load), "everybody is back", 60)
        busy = max(hub.nodes, key=lambda node: sum(_is_at(client, node) for client in load.connected))
        assert await busy.stop() == 0  # F3
        await busy.start()

        async def enough() -> bool:
            done = list(hub.history.records())
            return [record["k"] for record in done].count("ok") > ENOUGH and any(
                record["k"] == "said" and record["command"] == "turn.complete" and record["ok"] for record in done
            )

        await until(enough, "the load has done enough to prove something", 90)
        await judge(hub, load, verdict, baseline)
    print(verdict.text())
    assert verdict.ok, verdict.text()
    report = verdict.report
    assert report.ledger["acked"] > ENOUGH
    assert report.ledger["turns superseded"] > 0, "else nothing was taken over"
    assert report.ledger["turns spoken by bots"] > 0
    assert report.closes[4000] > 0, "drained connections are told so"


async def _runs_at(hub: Rig) -> list[int]:
    """Living workers that run something."""
    holders = {int(row["lease_node"].split(":")[1]) for row in await hub.sql(HELD)}
    return [pid for node in hub.nodes for pid in node.workers() if pid in holders]


async def _all_connected(load: Load) -> bool:
    return all(client.connected.is_set() for client in load.connected)


def _is_at(client: Client, node: Node) -> bool:
    return int(client.node.split(":")[1]) in node.workers()


async def _serves(url: str) -> bool:
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    writer.close()
    return True


async def _sloth(hub: Rig, load: Load) -> ClientConnection:
    """A client that takes next to nothing and reads nothing."""
    name, token = next(iter(hub.tokens.items()))
    parts = urlsplit(hub.nodes[1].url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
    sloth = await connect(
        hub.nodes[1].url.replace("http", "ws", 1) + "/v1/ws",
        sock=sock,
        additional_headers={"Authorization": f"Bearer {token}"},
        subprotocols=["hub.v1"],  # type: ignore[list-item]
        compression=None,
        max_queue=1,
        ping_interval=None,
        close_timeout=0.1,
        proxy=None,
    )
    for session, owner in load.owners.items():
        if owner == name:
            await sloth.send(json.dumps({"id": "1", "type": "session.join", "after_seq": 0, "session": session}))
    return sloth
