"""The one Pub/Sub connection of a worker: reconnects for ever and reports every gap."""

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from hub.relay import keys
from hub.relay.pipeline import Pipeline
from hub.relay.wire import Address, Reply, Wire, encode, stay_connected

CHANNELS_PER_COMMAND = 512
QUIET_S = 2.0

OnMessage = Callable[[bytes], None]
OnGap = Callable[[], None]


class Listener(Protocol):
    """Who gets the messages of a channel: as an object, because a bound method would be one more for each token."""

    def receive(self, payload: bytes, /) -> None:
        """A message. Must not block or raise."""

    def gap(self) -> None:
        """Messages may have been missed before this."""


class _Calls:
    """The same as two functions."""

    __slots__ = ("_on_gap", "_on_message")

    def __init__(self, on_message: OnMessage, on_gap: OnGap) -> None:
        self._on_message = on_message
        self._on_gap = on_gap

    def receive(self, payload: bytes) -> None:
        self._on_message(payload)

    def gap(self) -> None:
        self._on_gap()


class Subscription:
    """A listener of one channel. `confirmed` is done once Redis has confirmed the channel for the first time."""

    __slots__ = ("_subscriber", "channel", "confirmed", "listener")

    def __init__(
        self, subscriber: "Subscriber", channel: bytes, listener: Listener, confirmed: asyncio.Future[None]
    ) -> None:
        self._subscriber = subscriber
        self.channel = channel
        self.listener = listener
        self.confirmed = confirmed

    def cancel(self) -> None:
        """No more calls from now on. May be called twice."""
        self._subscriber.remove(self)


class _Channel:
    __slots__ = ("confirmed", "listeners")

    def __init__(self) -> None:
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.listeners: tuple[Subscription, ...] = ()

    def receive(self, payload: bytes) -> None:
        for one in self.listeners:
            one.listener.receive(payload)

    def gap(self) -> None:
        for one in self.listeners:
            one.listener.gap()


class Subscriber:
    """Messages go to the listeners as they come, without a task in between: a listener must not block or raise.

    The set of wanted channels is the truth. Every confirmation of a channel calls `on_gap` of its listeners: messages
    may have been missed before it. A connection that stays quiet for `quiet_s` is asked twice: with a PING, and with a
    message to the worker's own channel through `pipeline`, which also finds a Redis that answers but delivers nothing.
    """

    def __init__(self, url: str, pipeline: Pipeline, *, quiet_s: float = QUIET_S) -> None:
        self._address = Address.parse(url)
        self._pipeline = pipeline
        self._quiet_s = quiet_s
        self._own = keys.worker(os.urandom(8).hex())
        self._channels: dict[bytes, _Channel] = {}
        self._receivers: dict[bytes, Listener] = {}  # of the channels: all that is touched for a message
        self._after_read: Callable[[], None] | None = None
        self._wire: Wire | None = None
        self._replies = 0
        self._messages = 0
        self._probe_sent = False
        self.gaps = 0
        self.reconnects = -1  # the first is none

    @property
    def connected(self) -> bool:
        return self._wire is not None

    def subscribe(self, channel: bytes, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        """Listens to a channel from its confirmation on; while Redis is away that comes later by itself."""
        return self.listen(channel, _Calls(on_message, on_gap))

    def listen(self, channel: bytes, listener: Listener) -> Subscription:
        """The same."""
        entry = self._channels.get(channel)
        if entry is None:
            entry = self._channels[channel] = _Channel()
            if self._wire is not None:
                self._wire.write(encode(b"SUBSCRIBE", channel))
        subscription = Subscription(self, channel, listener, entry.confirmed)
        self._tell(channel, entry, (*entry.listeners, subscription))
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """See `Subscription.cancel`."""
        entry = self._channels.get(subscription.channel)
        if entry is None or subscription not in entry.listeners:
            return
        self._tell(subscription.channel, entry, tuple(other for other in entry.listeners if other is not subscription))
        if not entry.listeners:
            del self._channels[subscription.channel], self._receivers[subscription.channel]
            if self._wire is not None:
                self._wire.write(encode(b"UNSUBSCRIBE", subscription.channel))

    def after_read(self, call: Callable[[], None]) -> None:
        """`call` is called whenever the listeners have got all the messages that came together."""
        self._after_read = call

    def _tell(self, channel: bytes, entry: _Channel, listeners: tuple[Subscription, ...]) -> None:
        entry.listeners = listeners
        self._receivers[channel] = listeners[0].listener if len(listeners) == 1 else entry

    def deliver(self, channel: bytes, payload: bytes) -> None:
        """Gives a message to this worker's listeners, as if Redis had brought it."""
        listener = self._receivers.get(channel)
        if listener is not None:
            listener.receive(payload)
            self._read_ended()

    def _read_ended(self) -> None:
        if self._after_read is not None:
            self._after_read()

    async def run(self) -> None:
        """Keeps the connection, for ever."""
        await stay_connected(self._address, "listening", self._use)

    async def _use(self, wire: Wire) -> None:
        self.reconnects += 1
        wire.listen(self._received, self._read_ended)
        self._wire = wire
        try:
            self._subscribe_all(wire)
            await self._watch(wire)
        finally:
            self._wire = None

    def _subscribe_all(self, wire: Wire) -> None:
        names = [self._own, *self._channels]
        for i in range(0, len(names), CHANNELS_PER_COMMAND):
            wire.write(encode(b"SUBSCRIBE", *names[i : i + CHANNELS_PER_COMMAND]))

    def _received(self, replies: Callable[[], Reply]) -> None:
        receiver = self._receivers.get
        count = messages = 0
        while (reply := replies()) is not False:
            count += 1
            if not isinstance(reply, list) or len(reply) != 3:
                continue
            kind, channel, value = reply
            if kind == b"message":
                messages += 1
                listener = receiver(channel)
                if listener is not None:
                    listener.receive(value)
            elif kind == b"subscribe" and (entry := self._channels.get(channel)) is not None:
                self._confirmed(entry)
        self._replies += count
        self._messages += messages

    def _confirmed(self, entry: _Channel) -> None:
        self.gaps += entry.confirmed.done()
        if not entry.confirmed.done():
            entry.confirmed.set_result(None)
        entry.gap()

    async def _watch(self, wire: Wire) -> None:
        """Returns when the connection has ended, or delivers nothing any more."""
        while True:
            messages = self._messages
            if await self._ended(wire):
                return
            if self._messages != messages:
                continue
            replies, self._probe_sent = self._replies, False
            wire.write(encode(b"PING"))
            self._pipeline.submit(encode(b"PUBLISH", self._own, b""), self._probed)
            if await self._ended(wire):
                return
            # A probe that Redis did not take proves nothing about this connection.
            if self._replies == replies or (self._probe_sent and self._messages == messages):
                return

    def _probed(self, reply: Reply) -> None:
        self._probe_sent = isinstance(reply, int)

    async def _ended(self, wire: Wire) -> bool:
        done, _ = await asyncio.wait((wire.closed,), timeout=self._quiet_s)
        return bool(done)
