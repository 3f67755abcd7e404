"""Which lease may write for a session in Redis: the same refusal of old epochs as PostgreSQL makes."""

from hub.domain.ids import SessionId
from hub.relay import keys, scripts
from hub.relay.connection import Redis

TTL_S = 120  # raised again with every heartbeat of a lease


class Fence:
    """The highest epoch per session. A missing fence refuses writes until a holder has raised it again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._raise = scripts.load("fence")

    async def raise_to(self, session: SessionId, epoch: int) -> bool:
        """Lets `epoch` write and no older one; False when a newer one holds the fence. Raises `Unavailable`."""
        return await self._redis.script(self._raise, [keys.fence(session)], [epoch, TTL_S]) == 1

    async def drop(self, session: SessionId) -> None:
        """Forgets the fence of a session that is gone: nobody may write. Raises `Unavailable`."""
        await self._redis.command("DEL", keys.fence(session))
