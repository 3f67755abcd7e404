"""Redis for questions that need an answer: short deadlines, one retry, and `Unavailable` when there is none."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import NoScriptError, RedisError

from hub.domain.errors import Unavailable
from hub.relay.scripts import Script

TIMEOUT_S = 2.0  # of one operation, retry included
MAX_CONNECTIONS = 16

Word = bytes | str | int


class Redis:
    """A small pool of connections. Every call raises `Unavailable` when Redis does not answer within 2 s."""

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_S,
            decode_responses=False,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(ConstantBackoff(0.02), 1),
        )
        self._client = redis.asyncio.Redis(connection_pool=pool)
        self._execute: Callable[..., Awaitable[object]] = self._client.execute_command
        self._pool = pool

    async def close(self) -> None:
        await self._client.aclose()
        await self._pool.aclose()

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        """Returns when Redis has answered."""
        with _translated():
            async with asyncio.timeout(timeout_s):
                await self._execute("PING")

    async def command(self, *words: Word) -> object:
        """The reply to one command."""
        with _translated():
            async with asyncio.timeout(TIMEOUT_S):
                return await self._execute(*words)

    async def script(self, script: Script, keys: Sequence[bytes], args: Sequence[Word] = ()) -> object:
        """The reply of a script, which Redis is told once."""
        with _translated():
            async with asyncio.timeout(TIMEOUT_S):
                words = (len(keys), *keys, *args)
                try:
                    return await self._execute("EVALSHA", script.digest, *words)
                except NoScriptError:
                    return await self._execute("EVAL", script.text, *words)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the hub's relay does not answer") from error
