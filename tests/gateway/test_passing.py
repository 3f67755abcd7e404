"""When the rooms of a worker pass on what came from Redis."""

import asyncio
import time

from hub.gateway.passing import MAX_PAUSE_S, SHORT_S, Passing
from hub.gateway.room import Room
from tests.gateway.room_world import Client, Message, World
from tests.gateway.server import eventually


def _work(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


class _Audience(Client):
    """One client that takes as much work as a large audience: some to pass on, much when the loop writes."""

    large = False
    written_at = 0.0

    def write(self, frame: bytes) -> None:
        if self.large:
            _work(2 * SHORT_S)
            asyncio.get_running_loop().call_soon(self._written)
        super().write(frame)

    def _written(self) -> None:
        _work(2 * MAX_PAUSE_S)
        self.written_at = time.perf_counter()


def _read(one: World, passing: Passing, message: Message, count: int = 1) -> None:
    """So many deltas come in one read from Redis."""
    for _ in range(count):
        one.write(message)
        one.room.receive(one.bus.pop())
    passing.read_ended()


async def _shown(client: Client, message: Message) -> None:
    await eventually(lambda: client.texts.get(message.id) == message.text(len(message.pieces)))


async def _world(tasks: asyncio.TaskGroup) -> tuple[World, Passing, _Audience, Message]:
    passing = Passing()
    one = World(tasks)
    one.room = Room(one.session, one._needed, passing.add)
    one.say()
    one.bus.clear()
    one.start()
    client = _Audience(one, 1, 1_048_576)
    one.room.attach(client.outbox)
    message = one.open()
    _read(one, passing, message)  # the first of a message is looked at in earnest
    await _shown(client, message)
    return one, passing, client, message


async def test_after_long_writing_what_comes_is_joined_for_a_while() -> None:
    async with asyncio.TaskGroup() as tasks:
        one, passing, client, message = await _world(tasks)
        client.wire.clear()
        client.large = True
        _read(one, passing, message)
        assert len(client.wire) == 1
        for _ in range(4):
            _read(one, passing, message, 2)
        assert len(client.wire) == 1, "it goes on at once although the worker is busy"
        client.large = False
        await _shown(client, message)
        assert [frame.count(b"message.delta") for frame in client.wire] == [1, 8]
        assert time.perf_counter() - client.written_at > 0.9 * MAX_PAUSE_S


async def test_what_is_due_after_the_pause_stays_behind_what_waits() -> None:
    async with asyncio.TaskGroup() as tasks:
        one, passing, client, message = await _world(tasks)
        client.large = True
        _read(one, passing, message)
        _read(one, passing, message, 3)
        one.say()
        one.room.receive(one.bus.pop())
        client.large = False
        _read(one, passing, message)
        await _shown(client, message)
        kinds = [frame["type"] for frame in client.frames]
        assert kinds == [*["message.delta"] * 5, "message.redacted", "message.delta"]


async def test_a_worker_that_is_not_busy_never_waits() -> None:
    async with asyncio.TaskGroup() as tasks:
        one, passing, client, message = await _world(tasks)
        at_once = 0
        for _ in range(50):
            before = len(client.wire)
            _read(one, passing, message)
            at_once += len(client.wire) > before
            await _shown(client, message)
        assert at_once > 25, "not all: a collection of garbage is work, too"
