"""Hands committed frames and live ones to every worker that follows a session."""

from collections.abc import Callable

from hub.domain.ids import SessionId
from hub.relay import keys
from hub.relay.pipeline import Pipeline, Still
from hub.relay.subscriber import Subscriber
from hub.relay.wire import Reply, encode


class Publisher:
    """Publishing never blocks and never raises: what is durable is in the log already.

    A payload that Redis did not take goes to this worker's own listeners instead (some may see it twice), so that
    they stay live without Redis; other workers find durable events by their position check.
    """

    def __init__(self, pipeline: Pipeline, subscriber: Subscriber) -> None:
        self._pipeline = pipeline
        self._subscriber = subscriber
        self.local = 0

    def publish(self, session: SessionId, payload: bytes, still: Still | None = None) -> None:
        """Sends an envelope (`hub.relay.envelope`) to the rooms of a session, if that is `still` wanted when it
        leaves."""
        self.notify(keys.channel(session), payload, still)

    def notify(self, channel: bytes, payload: bytes, still: Still | None = None) -> None:
        """Sends a payload to whoever listens to a channel."""
        self._pipeline.submit(encode(b"PUBLISH", channel, payload), self._looped_back(channel, payload, still), still)

    def _looped_back(self, channel: bytes, payload: bytes, still: Still | None) -> Callable[[Reply], None]:
        def on_reply(reply: Reply) -> None:
            if not isinstance(reply, int) and (still is None or still()):
                self.local += 1
                self._subscriber.deliver(channel, payload)

        return on_reply
