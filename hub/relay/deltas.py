"""The text of messages while they are written: from a run to every worker, coalesced, fenced, kept in Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId
from hub.domain.run import Lease
from hub.protocol.events import AgentAuthor
from hub.relay import fence, keys, scripts
from hub.relay.message_stream import MessageStream, Outlet, forget
from hub.relay.pipeline import Pipeline, ignored
from hub.relay.subscriber import Subscriber
from hub.relay.wire import encode

REFENCE_PAUSE_S = 0.5

Refence = Callable[[Lease], Awaitable[bool]]
"""Checks in PostgreSQL that the lease still holds and raises its fence again: True when both are so, False when the
lease is lost. May raise `Unavailable`: it is asked again."""


class DeltaPublisher:
    """The open messages of this worker's runs. `tasks` owns what restores a fence that Redis has lost."""

    def __init__(self, pipeline: Pipeline, subscriber: Subscriber, refence: Refence, tasks: asyncio.TaskGroup) -> None:
        self._pipeline = pipeline
        self._refence = refence
        self._tasks = tasks
        self._parked: dict[Lease, list[MessageStream]] = {}
        self._silence = scripts.load("silence")
        self._outlet = Outlet(
            pipeline=pipeline,
            deliver=subscriber.deliver,
            park=self._park,
            delta=scripts.load("delta"),
            snapshot=scripts.load("snapshot"),
            fenced_publish=scripts.load("fenced_publish"),
        )

    def open(self, lease: Lease, message: str, *, turn: int, author: AgentAuthor, seq: int) -> MessageStream:
        """Begins a message. `seq` is that of the last durable event the run has appended before it."""
        return MessageStream(self._outlet, lease, message, turn, author, seq)

    def close(self, session: SessionId, messages: Sequence[str]) -> None:
        """Forgets open messages that have no stream any more: call it when what ends them has been published."""
        for command in forget(session, messages):
            self._pipeline.submit(command, ignored)

    def silence(self, lease: Lease) -> None:
        """Nobody holds this lease: older ones of its session write nothing more, and what they had open is gone."""
        words = (keys.fence(lease.session), keys.open_messages(lease.session), b"%d" % lease.epoch, b"%d" % fence.TTL_S)
        command = encode(b"EVALSHA", self._silence.digest, b"2", *words)
        self._pipeline.evaluate(self._silence, command, ignored)

    def _park(self, stream: MessageStream) -> None:
        waiting = self._parked.setdefault(stream.lease, [])
        waiting.append(stream)
        if len(waiting) == 1:
            self._tasks.create_task(self._restore_fence(stream.lease))

    async def _restore_fence(self, lease: Lease) -> None:
        held = True
        # Without Redis there is no fence to restore, and the streams go on for this worker's own followers.
        while self._pipeline.connected:
            try:
                held = await self._refence(lease)
                break
            except Unavailable:
                await asyncio.sleep(REFENCE_PAUSE_S)
        for stream in self._parked.pop(lease, ()):
            stream.unpark(held)
