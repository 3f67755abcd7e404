"""Passwords: argon2id, never on the event loop."""

import asyncio
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from hub.domain.errors import BadRequest, RateLimited

MIN_CHARACTERS = 8
MAX_BYTES = 1024
NICE = 10
MEMORY_KIB = 19_456

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords in a few threads; a storm of sign-ins waits in a bounded queue, then is turned away.

    `threads` is how many hashes are computed at once, `waiting` how many may wait. A new hash takes `memory_kib`; the
    default is the OWASP minimum for two passes and one lane, and takes 20 ms: a stronger one would let a login storm
    take the cores away from the sockets. A hash is checked with what it was made with. `computed` counts the hashes;
    `dummy` is what a password is compared with when there is none.
    """

    def __init__(self, *, threads: int = 2, waiting: int = 64, memory_kib: int = MEMORY_KIB) -> None:
        self._hasher = PasswordHash([Argon2Hasher(time_cost=2, memory_cost=memory_kib, parallelism=1)])
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_step_back)
        self._limit = threads + waiting
        self._pending = 0
        self.computed = 0
        self.dummy = self._hasher.hash("nobody's password")

    async def hash(self, password: str) -> str:
        """The hash to keep. `BadRequest` when the password is too short or too long, `RateLimited` in a storm."""
        prepared = _prepare(password)
        if len(password) < MIN_CHARACTERS:
            raise BadRequest(f"the password must have at least {MIN_CHARACTERS} characters")
        if len(prepared) > MAX_BYTES:
            raise BadRequest(f"the password must have at most {MAX_BYTES} bytes")
        return await self._run(lambda: self._hasher.hash(prepared))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; takes as long for a user who does not exist (None). `RateLimited` in a storm."""
        prepared = _prepare(password)[: MAX_BYTES + 1]
        known = password_hash or self.dummy
        matches = await self._run(lambda: self._hasher.verify(prepared, known))
        return matches and password_hash is not None and len(prepared) <= MAX_BYTES

    def close(self) -> None:
        """Let go of the threads; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._limit:
            raise RateLimited("too many sign-ins at once", retry_after=1.0)
        self._pending += 1
        self.computed += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # Not in a `finally` of the waiting caller: one that gives up leaves its hash in the queue.
        future.add_done_callback(self._done)
        return await future

    def _done(self, _: object) -> None:
        self._pending -= 1


def _step_back() -> None:
    """Let this thread have what the event loops leave of the cores: who signs in can wait, a token cannot."""
    if sys.platform == "linux":  # elsewhere a priority is that of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICE)


def _prepare(password: str) -> bytes:
    """The same password typed on different keyboards gives the same bytes."""
    try:
        return unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError as e:
        raise BadRequest("the password must be valid Unicode text") from e
