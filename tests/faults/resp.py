"""Pub/Sub messages that vanish without a trace, as when Redis drops a subscriber's buffer or fails over."""

import random

_MESSAGE = b"*3\r\n$7\r\nmessage\r\n"


class Losses:
    """Which share of the messages is lost now, and how many were."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.share = 0.0
        self.lost = 0

    def sieve(self) -> "PubSubSieve":
        """For one connection."""
        return PubSubSieve(self)

    def hit(self) -> bool:
        if self._rng.random() >= self.share:
            return False
        self.lost += 1
        return True


class PubSubSieve:
    """Cuts what a Redis server says into replies, and leaves some messages out; all else passes as it is."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        buffer = self._rest + data
        at, kept = 0, []
        while (end := _end_of_reply(buffer, at)) > 0:
            if not (buffer.startswith(_MESSAGE, at) and self._losses.hit()):
                kept.append(buffer[at:end])
            at = end
        self._rest = buffer[at:]
        return b"".join(kept)


def _end_of_reply(buffer: bytes, at: int) -> int:
    """Where the reply that begins at `at` ends; -1 when it is not complete."""
    line_end = buffer.find(b"\r\n", at)
    if line_end < 0:
        return -1
    kind, end = buffer[at : at + 1], line_end + 2
    if kind not in (b"*", b"$", b"~", b">", b"%"):
        return end
    count = int(buffer[at + 1 : line_end])
    if kind == b"$":
        end += max(count, -2) + 2
        return end if end <= len(buffer) else -1
    for _ in range(count * (2 if kind == b"%" else 1)):
        if (end := _end_of_reply(buffer, end)) < 0:
            return -1
    return end
