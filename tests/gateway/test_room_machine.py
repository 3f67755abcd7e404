"""Whatever the bus loses, doubles or swaps, whoever joins or leaves at any moment: every client sees every durable
event once and in order, and of every open message a text that was really written, without a hole."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.gateway.room_world import Client, World

PASSES = 8  # of the loop: enough for every task to get as far as it can


class RoomMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.end = asyncio.Event()
        self.world: World
        self.main = self.loop.create_task(self._main())
        self._settle()

    async def _main(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.world = World(tasks, batching=True)
            await self.end.wait()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(coroutine)

    def _settle(self) -> None:
        async def passes() -> None:
            for _ in range(PASSES):
                await asyncio.sleep(0)

        self._run(passes())

    def _do(self, what: Any, *args: Any) -> None:
        """Does something inside the loop; what it starts gets one step further."""

        async def inside() -> None:
            what(*args)

        self._run(inside())

    def _receive(self, payload: bytes) -> None:
        """Between two passes, so that it meets tasks also where they wait for just one."""
        self.world.room.receive(payload)

    @initialize(events=st.integers(0, 12), streaming=st.booleans())
    def begin(self, events: int, streaming: bool) -> None:
        for _ in range(events):
            self.world.say()
        if streaming:
            self.world.write(self.world.open())
        self._do(self.world.start)

    @rule()
    def time_passes(self) -> None:
        self.read_ends()
        self._settle()

    @rule()
    def read_ends(self) -> None:
        self._do(self.world.room.pass_on)

    # ---- the run

    @rule()
    def say(self) -> None:
        self.world.say()

    @rule()
    def open(self) -> None:
        self.world.write(self.world.open())

    @precondition(lambda self: self.world.live())
    @rule(data=st.data(), times=st.integers(1, 5))
    def write(self, data: st.DataObject, times: int) -> None:
        message = data.draw(st.sampled_from(self.world.live()))
        for _ in range(times):
            self.world.write(message)

    @precondition(lambda self: self.world.live())
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        self.world.complete(data.draw(st.sampled_from(self.world.live())))

    @rule()
    def finish(self) -> None:
        self.world.finish()

    @rule()
    def forget_ended(self) -> None:
        self.world.forget_ended()

    @rule()
    def redis_is_emptied(self) -> None:
        self.world.kept.clear()

    # ---- the bus

    @precondition(lambda self: self.world.bus)
    @rule(many=st.integers(1, 8))
    def deliver_in_order(self, many: int) -> None:
        for _ in range(min(many, len(self.world.bus))):
            self._receive(self.world.bus.pop(0))

    @precondition(lambda self: self.world.bus)
    @rule(data=st.data(), keep=st.booleans())
    def deliver_out_of_order(self, data: st.DataObject, keep: bool) -> None:
        at = data.draw(st.integers(0, len(self.world.bus) - 1))
        payload = self.world.bus[at] if keep else self.world.bus.pop(at)
        self._receive(payload)

    @precondition(lambda self: self.world.bus)
    @rule()
    def deliver_backwards(self) -> None:
        while self.world.bus:
            self._receive(self.world.bus.pop())

    @precondition(lambda self: self.world.bus)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.world.bus[data.draw(st.integers(0, len(self.world.bus) - 1))]

    @rule(junk=st.sampled_from([b"", b"E 1 -\nx", b"E 99999 -\n{}", b"R 99999 -\n", b"D x 5 1 99999\n{}", b"\xff"]))
    def junk(self, junk: bytes) -> None:
        self._receive(self.world.tagged(junk))

    # ---- the room's questions

    @precondition(lambda self: self.world.needed and not self.world.repairing)
    @rule()
    def repair(self) -> None:
        self._do(lambda: self.world.tasks.create_task(self.world.repair()))

    @precondition(lambda self: self.world.reads)
    @rule(data=st.data(), fresh=st.booleans())
    def answer(self, data: st.DataObject, fresh: bool) -> None:
        read = data.draw(st.sampled_from(self.world.reads))
        self._do(lambda: self.world.answer(read, fresh=fresh))

    @rule()
    def check_position(self) -> None:
        self._do(self.world.room.reaches, len(self.world.log))

    @rule()
    def reconnected(self) -> None:
        self._do(self.world.room.gap)

    # ---- clients

    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        after = data.draw(st.integers(0, self.world.room.last_seq))
        self._do(self.world.join, after)

    @rule(data=st.data(), passes=st.integers(0, 3))
    def join_while_events_come(self, data: st.DataObject, passes: int) -> None:
        self.join(data)
        for _ in range(passes):
            self._do(lambda: None)
        self.say()
        self.deliver_in_order(len(self.world.bus))

    @precondition(lambda self: self.world.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self._do(self.world.leave, data.draw(st.sampled_from(self.world.clients)))

    @precondition(lambda self: self.world.clients)
    @rule(data=st.data())
    def stop_or_go_on_reading(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.world.clients))
        client.reading = not client.reading
        if client.reading:
            self._do(client.outbox.resume)

    @invariant()
    def no_task_has_failed(self) -> None:
        assert not self.main.done()

    def teardown(self) -> None:
        """In the end everything is repaired: then every client has everything."""
        try:
            self.time_passes()
            for client in self.world.clients:
                client.reading = True
                self._do(client.outbox.resume)
            self.world.bus.clear()
            self.world.forget_ended()
            for message in self.world.live():
                self.world.kept[message.id] = len(message.pieces)
            self._do(self.world.room.gap)
            self._do(self.world.room.reaches, len(self.world.log))
            for _ in range(1000):
                if self.world.reads:
                    read = self.world.reads[0]
                    self._do(lambda read=read: self.world.answer(read, fresh=True))
                elif self.world.needed and not self.world.repairing:
                    self._do(lambda: self.world.tasks.create_task(self.world.repair()))
                else:
                    break
                self._settle()
            for client in self.world.clients:
                self._complete(client)
        finally:
            self.end.set()
            self.loop.run_until_complete(self.main)
            self.loop.close()

    def _complete(self, client: Client) -> None:
        assert not client.overflowed
        assert client.seq == len(self.world.log)
        for message in self.world.live():
            assert client.texts.get(message.id, "") == message.text(len(message.pieces))


RoomMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRoom = RoomMachine.TestCase
