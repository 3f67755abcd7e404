"""Metrics of all workers of one host: each tells its own at a socket in a folder they share, and the one that is
scraped asks the others."""

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

ASK_S = 1.0  # for one that stands still; the others answer in a few milliseconds
SOCKETS = "*.sock"

_FAMILY = re.compile(rb"^(?=# HELP )", re.MULTILINE)


class HostMetrics:
    """What `GET /metrics` answers. `own` is the text of this worker, `folder` where the sockets are; without one this
    worker is asked alone."""

    def __init__(self, node: str, own: Callable[[], bytes], folder: Path | None = None) -> None:
        self._own = own
        self._socket = folder / f"{node.rpartition(':')[2]}.sock" if folder is not None else None
        self._registry = CollectorRegistry()
        self._silent = Gauge(
            "hub_workers_silent",
            "Workers of the host that did not tell theirs in time",
            ["node"],
            registry=self._registry,
        ).labels(node=node)

    async def run(self) -> None:
        """Answer the others, for ever."""
        if self._socket is None:
            return
        unborn = self._socket.with_suffix(".new")  # a name that is looked for has somebody who listens, or is dead
        server = await asyncio.start_unix_server(self._answer, unborn)
        unborn.rename(self._socket)
        try:
            async with server:
                await server.serve_forever()
        finally:
            self._socket.unlink(missing_ok=True)

    async def text(self) -> bytes:
        """The metrics of this worker and of all others that answer."""
        others = await asyncio.gather(*map(_ask, self._others()))
        self._silent.set(sum(told is None for told in others))
        return merged([self._own(), *(told for told in others if told), generate_latest(self._registry)])

    def _others(self) -> list[Path]:
        if self._socket is None:
            return []
        return sorted(path for path in self._socket.parent.glob(SOCKETS) if path != self._socket)

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                writer.write(self._own())
                await writer.drain()
        except (OSError, TimeoutError):  # who has asked is not there any more
            writer.transport.abort()
        finally:
            writer.close()


def merged(texts: Iterable[bytes]) -> bytes:
    """One text of several: the format wants all of a metric together, under its name."""
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for family in _FAMILY.split(text):
            head, samples = _parts(family)
            families.setdefault(head, []).append(samples)
    return b"".join(head + b"".join(samples) for head, samples in families.items())


def _parts(family: bytes) -> tuple[bytes, bytes]:
    """The lines that tell name, meaning and type, and those with values."""
    lines = family.splitlines(keepends=True)
    return b"".join(lines[:2]), b"".join(lines[2:])


async def _ask(path: Path) -> bytes | None:
    """What the worker at this socket tells; nothing when it is dead, None when it does not answer."""
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await reader.read()
            finally:
                writer.close()
    except (ConnectionRefusedError, FileNotFoundError):
        _bury(path)
        return b""
    except (OSError, TimeoutError):
        return None


def _bury(path: Path) -> None:
    """Nobody listens there again: names are used once."""
    path.unlink(missing_ok=True)
