"""When the rooms of a worker pass on what came from Redis."""

import asyncio
import time

from hub.gateway.passing import MIN_PAUSE_S, Passing
from hub.gateway.room import Room
from tests.gateway.room_world import Client, Message, World
from tests.gateway.server import eventually

SLOW_S = 3 * MIN_PAUSE_S  # that a write takes, as one to a large audience does


class _SlowClient(Client):
    slow = False

    def write(self, frame: bytes) -> None:
        if self.slow:
            time.sleep(SLOW_S)
        super().write(frame)


def _read(one: World, passing: Passing, message: Message, count: int = 1) -> None:
    """So many deltas come in one read from Redis."""
    for _ in range(count):
        one.write(message)
        one.room.receive(one.bus.pop())
    passing.read_ended()


async def _shown(client: Client, message: Message) -> None:
    await eventually(lambda: client.texts.get(message.id) == message.text(len(message.pieces)))


async def _world(tasks: asyncio.TaskGroup) -> tuple[World, Passing, _SlowClient, Message]:
    passing = Passing()
    one = World(tasks)
    one.room = Room(one.session, one._needed, passing.add)
    one.say()
    one.bus.clear()
    one.start()
    client = _SlowClient(one, 1, 1_048_576)
    one.room.attach(client.outbox)
    message = one.open()
    _read(one, passing, message)  # the first of a message is looked at in earnest
    await _shown(client, message)
    return one, passing, client, message


async def test_after_a_long_pass_what_comes_is_joined() -> None:
    async with asyncio.TaskGroup() as tasks:
        one, passing, client, message = await _world(tasks)
        client.wire.clear()
        client.slow = True
        _read(one, passing, message)
        assert len(client.wire) == 1
        for _ in range(4):
            _read(one, passing, message, 2)
        assert len(client.wire) == 1, "it goes on at once although the worker is busy"
        await _shown(client, message)
        assert [frame.count(b"message.delta") for frame in client.wire] == [1, 8]


async def test_what_is_due_after_the_pause_stays_behind_what_waits() -> None:
    async with asyncio.TaskGroup() as tasks:
        one, passing, client, message = await _world(tasks)
        client.slow = True
        _read(one, passing, message)
        _read(one, passing, message, 3)
        one.say()
        one.room.receive(one.bus.pop())
        client.slow = False
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
        assert at_once > 25, "the machine may have been away in some, not in most"
