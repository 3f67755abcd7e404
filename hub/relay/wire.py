"""A bare connection to Redis: bytes out, parsed replies in. The pipeline and the subscriber stand on it."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

CONNECT_TIMEOUT_S = 3.0
MIN_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0
# Parsed at a time: hiredis moves all that it still holds to the front again and again. A read of 256 KiB in one piece
# costs 0.7 us for each message, in pieces of this size 0.15.
SLICE_BYTES = 16_384

# In a URL, named as the client library of `hub.relay.connection` has them, which reads the same URL.
FILES = {"ssl_ca_certs": "authorities", "ssl_certfile": "certificate", "ssl_keyfile": "key"}
QUERY = {"db", *FILES}

logger = logging.getLogger(__name__)

Reply = object
"""What hiredis makes of a reply: bytes, int, None, list, or a `hiredis.ReplyError` (as a value)."""


OnReplies = Callable[[Callable[[], Reply]], None]
"""Takes replies one by one from what it is given, until that returns False. Called for thousands of messages a second,
so not once for each of them."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is, from `redis://`, `rediss://` or `unix://` URLs: `redis://[user[:password]@]host[:port][/db]`.

    `rediss://` may name files in PEM: `?ssl_ca_certs=` of whom to trust instead of the system's authorities,
    `ssl_certfile=` and `ssl_keyfile=` to show who the hub is.
    """

    path: str | None
    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None
    db: int
    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises ValueError when the URL is of another kind."""
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
        query = parse_qs(parts.query)
        if unknown := sorted(query.keys() - QUERY):
            raise ValueError(f"the Redis URL has {', '.join(unknown)}, which the hub does not understand: leave it out")
        local = parts.scheme == "unix"
        db = query["db"][0] if "db" in query else ("" if local else parts.path.strip("/"))
        return cls(
            path=unquote(parts.path) if local else None,
            host=parts.hostname or "localhost",
            port=parts.port or 6379,
            tls=parts.scheme == "rediss",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            db=int(db or 0),
            **{field: query[name][0] for name, field in FILES.items() if name in query},
        )

    def context(self) -> ssl.SSLContext:
        """For TLS. Raises OSError for a file that cannot be read, or is none."""
        made = ssl.create_default_context(cafile=self.authorities)
        if self.certificate is not None:
            made.load_cert_chain(self.certificate, self.key)
        return made


class Wire(asyncio.Protocol):
    """One connection. `on_replies` gets every reply in order; `closed` is done when the connection has ended."""

    def __init__(self, on_replies: OnReplies) -> None:
        self._on_replies = on_replies
        self._after_read: Callable[[], None] | None = None
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        """Sends; a connection that has ended ignores it."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        """Ends the connection without waiting for what is unsent."""
        if self._transport is not None:
            self._transport.abort()

    def listen(self, on_replies: OnReplies, after_read: Callable[[], None] | None = None) -> None:
        """From now on `on_replies` gets the replies; `after_read` is called when it has got all that came together."""
        self._on_replies = on_replies
        self._after_read = after_read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        reader, size = self._reader, len(data)
        try:
            for start in range(0, size, SLICE_BYTES):
                reader.feed(data, start, min(SLICE_BYTES, size - start))
                self._on_replies(reader.gets)
        except hiredis.ProtocolError:
            self.abort()
        if self._after_read is not None:
            self._after_read()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


def encode(*words: bytes) -> bytes:
    """A command in the form Redis reads."""
    return b"*%d\r\n" % len(words) + encode_words(*words)


def encode_words(*words: bytes) -> bytes:
    """Some words of a command."""
    return b"".join([b"$%d\r\n%s\r\n" % (len(word), word) for word in words])


async def stay_connected(address: Address, purpose: str, use: Callable[[Wire], Awaitable[None]]) -> NoReturn:
    """One connection after the other, for ever: `use` has each of them until it returns. `purpose` is for the log."""
    backoff = MIN_BACKOFF_S
    while True:
        try:
            wire = await connect(address)
        except (OSError, TimeoutError) as error:
            logger.warning("no connection to Redis for %s: %s", purpose, error)
        else:
            backoff = MIN_BACKOFF_S
            try:
                await use(wire)
            finally:
                wire.abort()
            logger.warning("the connection to Redis for %s was lost", purpose)
        await asyncio.sleep(random.uniform(0, backoff))  # noqa: S311 (jitter)
        backoff = min(backoff * 2, MAX_BACKOFF_S)


async def connect(address: Address) -> Wire:
    """An authenticated connection that has answered a PING.

    Raises OSError (ConnectionError when Redis refuses) or TimeoutError.
    """
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def until_pong(replies: Callable[[], Reply]) -> None:
        while (reply := replies()) is not False:
            if not answer.done() and (reply == b"PONG" or isinstance(reply, hiredis.ReplyError)):
                answer.set_result(None if reply == b"PONG" else str(reply))

    wire = Wire(until_pong)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await _open(address, wire)
            if address.password is not None:
                wire.write(encode(b"AUTH", (address.username or "default").encode(), address.password.encode()))
            if address.db:
                wire.write(encode(b"SELECT", b"%d" % address.db))
            wire.write(encode(b"PING"))
            await asyncio.wait((answer, wire.closed), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        wire.abort()
        raise
    if not answer.done() or answer.result() is not None:
        wire.abort()
        raise ConnectionError(f"Redis refused: {answer.result()}" if answer.done() else "Redis closed the connection")
    return wire


async def _open(address: Address, wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    if address.path is not None:
        await loop.create_unix_connection(lambda: wire, address.path)
    else:
        tls = address.context() if address.tls else None
        await loop.create_connection(lambda: wire, address.host, address.port, ssl=tls)
