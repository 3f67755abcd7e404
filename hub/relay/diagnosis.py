"""What an operator wants to know about Redis itself."""

import asyncio
from collections.abc import Callable

import hiredis

from hub.relay.connection import TIMEOUT_S
from hub.relay.wire import Address, Reply, connect, encode

# One of each kind of command that a hub uses, on a name of its own; the key is gone a second later.
_NAME = b"hub:doctor"
_SCRIPT = b"return redis.call('SET', KEYS[1], '1', 'PX', '1000')"
_USED = (
    encode(b"SET", _NAME, b"1", b"PX", b"1000"),
    encode(b"SCRIPT", b"LOAD", _SCRIPT),
    encode(b"EVAL", _SCRIPT, b"1", _NAME),
    encode(b"PUBLISH", _NAME, b""),
    encode(b"SUBSCRIBE", _NAME),
)


async def refusal(url: str) -> str | None:
    """What Redis says to the first thing that it refuses of what a hub asks of it, such as that it is a replica, is
    full, or that the user may not; None when it takes all. Raises OSError and TimeoutError when it does not answer."""
    replies: list[Reply] = []
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(more: Callable[[], Reply]) -> None:
        while (reply := more()) is not False:
            replies.append(reply)
        if len(replies) >= len(_USED) and not answered.done():
            answered.set_result(None)

    wire = await connect(Address.parse(url))
    try:
        wire.listen(note)
        wire.write(b"".join(_USED))
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait((answered, wire.closed), return_when=asyncio.FIRST_COMPLETED)
    finally:
        wire.abort()
    if not answered.done():
        raise ConnectionError("Redis closed the connection")
    return next((str(reply) for reply in replies if isinstance(reply, hiredis.ReplyError)), None)
