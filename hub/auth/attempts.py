"""How often somebody may try: per account, per address and all together, shared by all workers through Redis.

Without Redis nobody signs in with a password or registers: guessing without a limit is worse than a wait. Who is signed
in stays so: a refresh token cannot be guessed.
"""

import hashlib
from typing import Literal

from hub.auth.sources import source
from hub.domain.errors import RateLimited
from hub.relay.limits import Limits
from hub.store.users import name_key

PAIR_PER_MINUTE, PAIR_BURST = 12, 30  # one account from one address: somebody who mistypes
ACCOUNT_PER_MINUTE, ACCOUNT_BURST = 60, 120  # from everywhere: higher, or a stranger could lock the owner out
ADDRESS_PER_MINUTE, ADDRESS_BURST = 120, 300  # an office or a class behind one address; hashing has its own bound


class Attempts:
    """Counts attempts; each method raises `RateLimited` (with `retry_after`) when there were too many."""

    def __init__(self, limits: Limits, *, hub_per_minute: int, hub_burst: int) -> None:
        """`hub_…`: passwords that everybody together may try: what a guesser with many addresses comes to at last."""
        self._limits = limits
        self._hub_per_minute = hub_per_minute
        self._hub_burst = hub_burst

    async def sign_in(self, name: str, address: str | None) -> None:
        """One try of a password. Failed or not is unknown yet: both count."""
        # Names come from strangers, in any length: a hash keeps keys short and contents out of Redis.
        account = hashlib.sha256(name_key(name).encode("utf-8", "surrogatepass")).hexdigest()
        await self._take(f"sign-in:pair:{account}:{_source(address)}", PAIR_PER_MINUTE, PAIR_BURST)
        await self._take(f"sign-in:account:{account}", ACCOUNT_PER_MINUTE, ACCOUNT_BURST)
        await self._take(f"sign-in:address:{_source(address)}", ADDRESS_PER_MINUTE, ADDRESS_BURST)
        # Last: what the others refuse takes nothing away from everybody.
        await self._take("sign-in:hub", self._hub_per_minute, self._hub_burst)

    async def registration(self, address: str | None) -> None:
        """One new account."""
        await self._take(f"register:address:{_source(address)}", ADDRESS_PER_MINUTE, ADDRESS_BURST)

    async def oidc(self, address: str | None) -> None:
        """One sign-in with the OpenID provider that is begun: what it needs is kept for a while."""
        name = f"oidc:address:{_source(address)}"
        await self._take(name, ADDRESS_PER_MINUTE, ADDRESS_BURST, when_down="allow")  # keeping it will say so

    async def refresh(self, address: str | None) -> None:
        """One use of a refresh token."""
        per_minute, burst = ADDRESS_PER_MINUTE * 10, ADDRESS_BURST * 10  # no hashing, only a look-up
        await self._take(f"refresh:address:{_source(address)}", per_minute, burst, when_down="allow")

    async def _take(
        self, name: str, per_minute: int, burst: int, *, when_down: Literal["allow", "refuse"] = "refuse"
    ) -> None:
        verdict = await self._limits.take(name, per_minute=per_minute, burst=burst, when_down=when_down)
        if not verdict.allowed:
            raise RateLimited("too many attempts", retry_after=verdict.retry_after_s)


def _source(address: str | None) -> str:
    return source(address) if address is not None else "unknown"
