"""A relay of one worker, wired as the hub wires it, and a Valkey that a test may treat badly."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio

from hub.domain.errors import Unavailable
from hub.domain.ids import RunId, SessionId, new_id
from hub.domain.run import Lease
from hub.embedded.valkey import EmbeddedValkey
from hub.relay import envelope, keys
from hub.relay.connection import Redis
from hub.relay.deltas import DeltaPublisher
from hub.relay.envelope import Envelope
from hub.relay.fence import Fence
from hub.relay.open_messages import OpenMessages
from hub.relay.pipeline import MAX_PENDING_BYTES, Pipeline
from hub.relay.publisher import Publisher
from hub.relay.subscriber import Subscriber, Subscription
from tests.conftest import short_dir


async def eventually(condition: Callable[[], object], deadline_s: float = 30) -> None:
    """Returns when the condition holds; fails after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 (what is waited for happens elsewhere)
            await asyncio.sleep(0.002)


async def eventually_so(question: Callable[[], Awaitable[object]], deadline_s: float = 30) -> None:
    """The same for a condition that has to be asked for."""
    async with asyncio.timeout(deadline_s):
        while not await question():  # noqa: ASYNC110 (what is waited for happens elsewhere)
            await asyncio.sleep(0.01)


class Relay:
    """Everything of one worker that talks to Redis. `refenced` holds the leases whose fence was asked for again."""

    def __init__(
        self,
        url: str,
        client: Redis,
        tasks: asyncio.TaskGroup,
        *,
        quiet_s: float,
        publish_url: str | None,
        max_bytes: int,
    ) -> None:
        self.redis = client
        self.pipeline = Pipeline(publish_url or url, max_bytes=max_bytes)
        self.subscriber = Subscriber(url, self.pipeline, quiet_s=quiet_s)
        self.publisher = Publisher(self.pipeline, self.subscriber)
        self.fence = Fence(self.redis)
        self.open_messages = OpenMessages(self.redis)
        self.refenced: list[Lease] = []
        self.holds_lease = True
        self.refence_fails = 0  # so many times it cannot be found out whether the lease holds
        self.deltas = DeltaPublisher(self.pipeline, self.subscriber, self._refence, tasks)
        self.tasks = tasks

    async def _refence(self, lease: Lease) -> bool:
        self.refenced.append(lease)
        if len(self.refenced) <= self.refence_fails:
            raise Unavailable("PostgreSQL does not answer")
        return self.holds_lease and await self.fence.raise_to(lease.session, lease.epoch)

    async def connected(self) -> None:
        await eventually(lambda: self.pipeline.connected and self.subscriber.connected)


@asynccontextmanager
async def relay(
    url: str,
    *,
    quiet_s: float = 2.0,
    publish_url: str | None = None,
    connected: bool = True,
    max_bytes: int = MAX_PENDING_BYTES,
) -> AsyncIterator[Relay]:
    client = Redis(url)
    try:
        async with asyncio.TaskGroup() as tasks:
            one = Relay(url, client, tasks, quiet_s=quiet_s, publish_url=publish_url, max_bytes=max_bytes)
            running = [tasks.create_task(one.pipeline.run()), tasks.create_task(one.subscriber.run())]
            try:
                if connected:
                    await one.connected()
                yield one
            finally:
                for task in running:
                    task.cancel()
    finally:
        await client.close()


@dataclass
class Ear:
    """Listens to a session as a room does."""

    heard: list[Envelope] = field(default_factory=list)
    gaps: int = 0
    subscription: Subscription | None = None

    def on_message(self, payload: bytes) -> None:
        self.heard.append(envelope.parse(payload))

    def on_gap(self) -> None:
        self.gaps += 1


async def ear(relay: Relay, session: SessionId) -> Ear:
    one = Ear()
    one.subscription = relay.subscriber.subscribe(keys.channel(session), one.on_message, one.on_gap)
    async with asyncio.timeout(30):
        await asyncio.wait((one.subscription.confirmed,))
    return one


def new_session() -> SessionId:
    return SessionId(new_id())


def new_lease(session: SessionId, epoch: int = 1) -> Lease:
    return Lease(RunId(new_id()), session, epoch)


async def ask(url: str, *words: str | bytes | int) -> object:
    """The reply to one command on a connection of its own."""
    client = redis.asyncio.Redis.from_url(url)
    try:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]
    finally:
        await client.aclose()


class OwnValkey:
    """A Valkey for one test: it can be stopped, started empty and frozen."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._server = EmbeddedValkey(home)
        self.url = self._server.start()
        self._frozen = False

    def stop(self) -> None:
        self.thaw()
        self._server.stop()

    def start(self) -> None:
        self._server = EmbeddedValkey(self._home)
        assert self._server.start() == self.url

    def freeze(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        if self._frozen:
            os.kill(self._pid, signal.SIGCONT)
            self._frozen = False

    @property
    def _pid(self) -> int:
        return int((self._home / "valkey.pid").read_text())


@contextmanager
def own_valkey() -> Iterator[OwnValkey]:
    home = short_dir()
    server = OwnValkey(home / "kv")
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
