"""What is asked of a server that is compared: how it is started, where clients connect, what is published for it."""

import asyncio
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import orjson

from loadtests.bench.crowd import Place
from loadtests.bench.publisher import Link, RedisLink

TEXT = "lorem ipsum dolor "


class Missing(Exception):
    """A contender cannot be run here; why."""


@dataclass
class Setting:
    """What all have in common."""

    redis_port: int
    build: Path  # a directory for what is made for the run

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}"


class Contender(ABC):
    """One server process on `port`."""

    name: str
    marker = b'"type":"token"'

    def __init__(self, setting: Setting, port: int) -> None:
        self.setting = setting
        self.port = port

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Build or install what it needs. Raises `Missing`."""

    @abstractmethod
    def command(self) -> list[str]:
        """How to start it."""

    def environment(self) -> dict[str, str]:
        """Variables it needs."""
        return {"BENCH_REDIS": self.setting.redis_url}

    def places(self, sessions: int, watchers: int) -> list[Place]:
        """Where the clients connect: one of every session, then the next of every session …"""
        return [Place(f"/ws/{session}") for _ in range(watchers) for session in range(sessions)]

    def idle_places(self, count: int) -> list[Place]:
        """Where clients connect that only stay."""
        return [Place("/ws/0")] * count

    def token(self, session: int, number: int) -> tuple[bytes, bytes]:
        """Channel and payload of a token: about 120 bytes of JSON for the client."""
        return b"tok:%d" % session, orjson.dumps(token(session, number))

    async def link(self, sessions: int) -> Link:  # noqa: ARG002 - Redis has all of them
        """How tokens come to it."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(RedisLink, "127.0.0.1", self.setting.redis_port)
        return link

    def is_ready(self) -> bool:
        """Whether clients may come."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def processes(self, started: int) -> list[int]:
        """Whose processor time counts."""
        return [started]

    def holders(self, started: int) -> list[int]:
        """Those of the processes whose memory grows with connections."""
        return self.processes(started)


def token(session: int, number: int) -> dict[str, object]:
    """What a client is told of a token."""
    return {
        "type": "token", "session": f"s{session:04}", "seq": number, "t": 1700000000000, "agent": "writer",
        "text": TEXT * 2,
    }  # fmt: skip
