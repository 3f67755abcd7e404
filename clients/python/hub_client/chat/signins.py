"""Sign-ins that last: refresh tokens by hub address, shared by all chats of one user.

A refresh token is void once it was used, and using it twice ends the whole sign-in. So two chats must not rotate it at
the same time: a lock file orders them, and who comes second takes what the first one got.
"""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hub_client.chat.places import Places
from hub_client.credentials import MARGIN_S
from hub_client.errors import NotSignedIn, Unreachable
from hub_client.rest import Rest, Tokens

LOCK_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A sign-in on disk. `good_until` is the access token's end, in seconds since the epoch."""

    name: str
    access_token: str
    refresh_token: str
    good_until: float

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.access_token, self.refresh_token, max(0.0, self.good_until - time.time()))


class SignIns:
    """The sign-ins file. One that cannot be read counts as empty: one signs in again."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def get(self, url: str) -> Stored | None:
        """The sign-in at this hub."""
        return self._read().get(url)

    async def put(self, url: str, name: str, tokens: Tokens) -> None:
        """Keep a new sign-in."""
        async with self._lock():
            self._write(url, name, tokens)

    async def forget(self, url: str) -> None:
        """Drop the sign-in at this hub."""
        async with self._lock():
            everything = self._read()
            if everything.pop(url, None) is not None:
                self._save(everything)

    async def rotate(self, url: str, rest: Rest, used: Tokens) -> Tokens:
        """New tokens instead of `used`: those another chat got meanwhile, or fresh ones. Raises `NotSignedIn`."""
        async with self._lock():
            stored = self.get(url)
            if stored is None:
                raise NotSignedIn("signed out")
            if stored.access_token != used.access_token and stored.good_until > time.time() + MARGIN_S:
                return stored.tokens
            tokens = await rest.refresh(stored.refresh_token)
            self._write(url, stored.name, tokens)
            return tokens

    @asynccontextmanager
    async def _lock(self) -> AsyncGenerator[None]:
        self._places.make()
        handle = os.open(self._places.config / "sign-ins.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                async with asyncio.timeout(LOCK_TIMEOUT_S):
                    while not _locked(handle):  # noqa: ASYNC110 — the other one is another process
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise Unreachable("another chat holds the sign-ins and does not let go") from None
            yield
        finally:
            os.close(handle)  # which lets go of the lock

    def _write(self, url: str, name: str, tokens: Tokens) -> None:
        everything = self._read()
        everything[url] = Stored(name, tokens.access_token, tokens.refresh_token, time.time() + tokens.expires_in)
        self._save(everything)

    def _read(self) -> dict[str, Stored]:
        try:
            raw = json.loads(self._places.sign_ins.read_text())
            return {url: Stored(**fields) for url, fields in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _save(self, everything: dict[str, Stored]) -> None:
        text = json.dumps({url: asdict(stored) for url, stored in everything.items()}, indent=1)
        replace_privately(self._places.sign_ins, text)


def replace_privately(path: Path, text: str) -> None:
    """Write the whole file or nothing, readable by its owner only."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    fresh.replace(path)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
