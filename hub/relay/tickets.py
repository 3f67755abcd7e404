"""One-time tickets: whoever takes one first has it."""

from typing import Literal

from hub.relay import keys
from hub.relay.connection import Redis


class TicketStore:
    """Keeps what a ticket stands for under the digest of its secret. A ticket of one kind is none of another."""

    def __init__(self, redis: Redis, kind: Literal["ticket", "oidc-flow", "oidc-code"] = "ticket") -> None:
        self._redis = redis
        self._kind = kind

    async def put(self, digest: str, value: bytes, ttl_s: int) -> None:
        """Raises `Unavailable`."""
        await self._redis.command("SET", keys.ticket(self._kind, digest), value, "EX", ttl_s)

    async def take(self, digest: str) -> bytes | None:
        """What the ticket stands for, the first time; None later, when it has expired or never was. Raises
        `Unavailable`: the ticket may then be used up."""
        value = await self._redis.command("GETDEL", keys.ticket(self._kind, digest))
        return value if isinstance(value, bytes) else None
