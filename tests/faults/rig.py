"""A hub of several `hub serve` processes on a PostgreSQL and a Valkey of its own, with a proxy on every connection."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import redis.asyncio

from hub.embedded.postgres import EmbeddedPostgres
from hub.embedded.valkey import EmbeddedValkey
from hub.store.migrate import upgrade
from tests.conftest import short_dir
from tests.driver import NO_TLS, Door
from tests.faults import audit, bots
from tests.faults.history import History
from tests.faults.proxy import Proxy, Streams
from tests.faults.resp import Losses
from tests.process.serving import ROOT, SECRET, environment, started

READY_S = 60.0
RECOVERY_S = 20.0
SOCKET_DIR_NAME = ".s.PGSQL.5432"


def children(pid: int) -> list[int]:
    """The processes below this one, nearest first."""
    found: list[int] = []
    parents = [pid]
    while parents:
        for task in Path(f"/proc/{parents.pop(0)}/task").glob("*/children"):
            with suppress(OSError):
                below = [int(child) for child in task.read_text().split()]
                found += below
                parents += below
    return found


def rss_mib(pids: Sequence[int]) -> float:
    """Resident memory of these processes."""
    total = 0
    for pid in pids:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total / 1024


class Node:
    """One `hub serve` and its three proxies: clients reach it, and it reaches PostgreSQL and Redis, through them."""

    def __init__(self, rig: "Rig", number: int) -> None:
        rng = rig.rng
        self._rig = rig
        self.name = f"n{number}"
        self.losses = Losses(random.Random(rng.random()))
        self.to_database = Proxy(rig.dial_database, random.Random(rng.random()))
        self.to_redis = Proxy(rig.dial_redis, random.Random(rng.random()), self.losses.sieve)
        self.from_clients = Proxy(self._dial, random.Random(rng.random()))
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.log_path = rig.home / f"{self.name}.log"

    @property
    def door(self) -> str:
        """Where clients come in."""
        return f"http://127.0.0.1:{self.from_clients.port}"

    @property
    def url(self) -> str:
        """Past the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> list[int]:
        """Its worker processes."""
        return children(self.pid) if self.process is not None else []

    def family(self) -> list[int]:
        """The supervisor and its workers."""
        return [self.pid, *self.workers()] if self.process is not None else []

    async def start(self) -> None:
        """Start it and wait until it is ready, at the port it had before."""
        if not self.from_clients.port:
            for proxy in (self.to_database, self.to_redis, self.from_clients):
                await proxy.start()
        variables = {
            "HUB_DATABASE_URL": f"postgresql://{self.name}@127.0.0.1:{self.to_database.port}/hub",
            "HUB_REDIS_URL": f"redis://127.0.0.1:{self.to_redis.port}/0",
            "HUB_SECRET_KEYS": SECRET,
            "HUB_REGISTRATION": "open",
            "HUB_ACCESS_TOKEN_S": "86400",
            "HUB_COMMAND_BURST": "2000",
            "HUB_COMMANDS_PER_MINUTE": "60000",
            "HUB_CONNECTIONS_PER_ORGANISATION": "5000",
            "HUB_LOG_LEVEL": "info",
            "HUB_TEAMS_DIR": str(self._rig.teams),
            **self._rig.settings,
        }
        options = [
            "--port",
            str(self.port),
            "--workers",
            str(self._rig.workers),
            "--data-dir",
            str(self._rig.home / self.name),
        ]
        self.process = self._spawn(options, environment(**variables))
        self._rig.note_processes()
        await self.ready()

    def _spawn(self, options: list[str], variables: dict[str, str]) -> "subprocess.Popen[str]":
        with self.log_path.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "hub", "serve", *options],
                cwd=ROOT,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait for the line that says so."""
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await asyncio.to_thread(self.process.stdout.readline)
        if not line.startswith("ready http://"):
            raise AssertionError(f"{self.name} did not start: {self.log_path.read_text()[-3000:]}")
        self.port = int(line.strip().rsplit(":", 1)[1])

    def kill(self) -> None:
        """kill -9 of supervisor and workers."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reap()

    async def stop(self, sig: signal.Signals = signal.SIGTERM, timeout_s: float = 40) -> int:
        """Ask it to drain; its exit code."""
        assert self.process is not None
        self.process.send_signal(sig)
        code = await asyncio.to_thread(self.process.wait, timeout_s)
        self._reap()
        return code

    def _reap(self) -> None:
        if self.process is not None:
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    async def metrics(self) -> dict[str, float]:
        """What a worker of it counts now, by name."""
        async with httpx2.AsyncClient(base_url=self.url, verify=NO_TLS, timeout=10) as rest:
            text = (await rest.get("/metrics")).text
        found: dict[str, float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name.partition("{")[0]] = float(value)
        return found

    async def get(self, path: str) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.url, verify=NO_TLS, timeout=10) as rest:
            return await rest.get(path)

    async def _dial(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)


class Rig:
    """`settings` are variables HUB_* of every node. Everything random comes from `rng`."""

    def __init__(self, home: Path, nodes: int, workers: int, settings: dict[str, str], rng: random.Random) -> None:
        self.home = home
        self.teams = home / "teams"
        self.rng = rng
        self.workers = workers
        self.settings = settings
        self.history = History(home / "history.jsonl")
        self.postgres = EmbeddedPostgres(home / "pg")
        self.valkey = EmbeddedValkey(home / "kv")
        self.dsn = ""
        self.nodes = [Node(self, number) for number in range(1, nodes + 1)]
        self.tokens: dict[str, str] = {}  # of people, by name; whoever signs in again has another one
        self.rss_peak = 0.0
        self._socket = ""
        self._valkey_socket = ""

    # ---- up and down

    async def start(self) -> None:
        self.teams.mkdir()
        for name, team in bots.TEAMS.items():
            (self.teams / f"{name}.yaml").write_text(team)
        self.dsn = self.postgres.launch()
        self._socket = self.dsn.partition("host=")[2] + "/" + SOCKET_DIR_NAME
        self._valkey_socket = self.valkey.launch().removeprefix("unix://")
        await asyncio.to_thread(self.postgres.wait_ready)
        await asyncio.to_thread(self.valkey.wait_ready)
        await asyncio.to_thread(upgrade, self.dsn)
        await self.sql(audit.TRIGGERS)
        for node in self.nodes:
            await self.sql(audit.ROLES.format(role=node.name))
        async with asyncio.TaskGroup() as starting:
            for node in self.nodes:
                starting.create_task(node.start())

    async def stop(self) -> None:
        """Whatever state it is in."""
        for pid in self._postgres_pids() + self.valkey_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for node in self.nodes:
            if node.process is not None:
                node.kill()
            for proxy in (node.to_database, node.to_redis, node.from_clients):
                await proxy.stop()
        await asyncio.to_thread(self.valkey.stop)
        await asyncio.to_thread(self.postgres.stop)
        self.history.close()

    async def dial_database(self) -> Streams:
        return await asyncio.open_unix_connection(self._socket)

    async def dial_redis(self) -> Streams:
        return await asyncio.open_unix_connection(self._valkey_socket)

    def note_processes(self) -> None:
        """Look how much memory the hub takes now."""
        self.rss_peak = max(self.rss_peak, self.rss_mib())

    def rss_mib(self) -> float:
        """Resident memory of all nodes; pages that workers share with their supervisor count for each."""
        return rss_mib([pid for node in self.nodes for pid in node.family()])

    # ---- the services

    def _postgres_pids(self) -> list[int]:
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.home / "pg" / "data" / "postmaster.pid").read_text().split()[0])
            if started(pid):
                return [pid, *children(pid)]
        return []

    def valkey_pids(self) -> list[int]:
        with suppress(OSError, ValueError):
            pid = int((self.home / "kv" / "valkey.pid").read_text())
            if started(pid):
                return [pid]
        return []

    def signal_postgres(self, sig: signal.Signals, *, all_of_it: bool = False) -> None:
        """To the postmaster, or to its children as well."""
        for pid in self._postgres_pids()[: None if all_of_it else 1]:
            with suppress(ProcessLookupError):
                os.kill(pid, sig)

    def signal_valkey(self, sig: signal.Signals) -> None:
        for pid in self.valkey_pids():
            os.kill(pid, sig)

    async def start_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.stop)
        self.postgres.launch()
        await asyncio.to_thread(self.postgres.wait_ready)

    async def start_valkey(self) -> None:
        await asyncio.to_thread(self.valkey.stop)  # also one that was killed is waited for
        self.valkey.launch()
        await asyncio.to_thread(self.valkey.wait_ready)

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Past every proxy, as the rig."""
        connection = await self._connect()
        try:
            if values:
                return list(await connection.fetch(statement, *values))
            if statement.lstrip().upper().startswith("SELECT"):
                return list(await connection.fetch(statement))
            await connection.execute(statement)
            return []
        finally:
            await connection.close(timeout=5)

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Also when it recovers from the last fault."""
        deadline = time.monotonic() + RECOVERY_S
        while True:
            try:
                return await asyncpg.connect(self.dsn, timeout=10)
            except (OSError, asyncpg.CannotConnectNowError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def redis(self, *words: str | bytes | int) -> Any:
        """One command, past every proxy."""
        client = redis.asyncio.Redis.from_url(f"unix://{self._valkey_socket}", socket_timeout=5)
        try:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    # ---- people

    async def register(self, name: str) -> str:
        """A new user; an access token."""
        self.tokens[name] = await Door(self.nodes[0].url).register(name)
        return self.tokens[name]

    @property
    def doors(self) -> list[str]:
        return [node.door for node in self.nodes]

    async def make_session(self, token: str, team: str = "scripted", members: Sequence[str] = ()) -> str:
        """A session of this user, with these as editors; its members are put into the history."""
        async with Door(self.nodes[0].url).rest(token) as rest:
            made = await rest.post("/v1/sessions", json={"team": team})
            assert made.status_code == httpx2.codes.CREATED, made.text
            session: str = made.json()["id"]
            for name in members:
                added = await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": "editor"})
                assert added.is_success, added.text
            return session


def _keep(home: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*home.glob("*.log"), *home.glob("*.jsonl"), home / "pg" / "postgres.log"):
        if path.exists():
            shutil.copy(path, folder / path.name)


@asynccontextmanager
async def rig(
    *, nodes: int = 2, workers: int = 1, seed: int = 0, keep: Path | None = None, **settings: str
) -> AsyncGenerator[Rig]:
    """A hub to break. `settings` are HUB_* variables without the prefix, in lower case. `keep` gets its logs."""
    home = short_dir()
    variables = {f"HUB_{name.upper()}": value for name, value in settings.items()}
    made = Rig(home, nodes, workers, variables, random.Random(seed))
    try:
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
    finally:
        if keep is not None:
            _keep(home, keep)
        shutil.rmtree(home, ignore_errors=True)


async def until(condition: Any, what: str, timeout_s: float, every_s: float = 0.1) -> float:
    """Wait until `await condition()` is true; the seconds it took."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(every_s)
    return time.monotonic() - began
