"""Which lease may write for a session in Redis: the same refusal of old epochs as PostgreSQL makes."""

from collections.abc import Sequence
from typing import cast

from hub.domain.ids import SessionId
from hub.relay import keys, scripts
from hub.relay.connection import Redis

TTL_S = 120  # raised again with every heartbeat of a lease
PER_COMMAND = 256  # Redis does nothing else meanwhile


class Fence:
    """The highest epoch per session. A missing fence refuses writes until a holder has raised it again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._raise = scripts.load("fence")

    async def raise_to(self, session: SessionId, epoch: int) -> bool:
        """Lets `epoch` write and no older one; False when a newer one holds the fence. Raises `Unavailable`."""
        return await self.raise_all([(session, epoch)]) == [True]

    async def raise_all(self, epochs: Sequence[tuple[SessionId, int]]) -> list[bool]:
        """The same for many sessions: for each whether its epoch holds."""
        held: list[bool] = []
        for i in range(0, len(epochs), PER_COMMAND):
            some = epochs[i : i + PER_COMMAND]
            names = [keys.fence(session) for session, _ in some]
            answers = await self._redis.script(self._raise, names, [TTL_S, *(epoch for _, epoch in some)])
            held += [answer == 1 for answer in cast(list[int], answers)]
        return held

    async def drop(self, session: SessionId) -> None:
        """Forgets the fence of a session that is gone: nobody may write. Raises `Unavailable`."""
        await self._redis.command("DEL", keys.fence(session))
