"""How often somebody may ask: per address, per user, per API key, and for what costs the hub much. REST requests and
WebSocket commands count alike."""

import math

from hub.auth.sources import source
from hub.domain.errors import RateLimited
from hub.domain.principal import Principal
from hub.relay.allowances import Allowance, Allowances, Standing

COSTLY_ROUTES = frozenset(
    {
        "GET /v1/search",
        "GET /v1/sessions/{id}/transcript",
        "GET /v1/sessions/{id}/export",
        "GET /v1/me/export",
        "GET /v1/admin/users/{id}/export",
        "POST /v1/sessions/{id}/attachments",
        "POST /v1/sessions/{id}/fork",
    }
)
COSTLY_COMMANDS = frozenset({"session.fork"})


class RateLimits:
    """Each method counts one request and says how the caller stands; `check` turns that into an error."""

    def __init__(
        self, allowances: Allowances, *, address: Allowance, user: Allowance, key: Allowance, costly: Allowance
    ) -> None:
        self._allowances = allowances
        self._address = address
        self._user = user
        self._key = key
        self._costly = costly

    def from_address(self, address: str) -> Standing:
        """One request from there, by whomever."""
        return self._allowances.take(self._address, source(address))

    def request(self, principal: Principal, route: str) -> Standing:
        """One REST request; `route` is its method and pattern."""
        return self._asked(principal, is_costly=route in COSTLY_ROUTES)

    def command(self, principal: Principal, type_: str) -> Standing:
        """One command over WebSocket."""
        return self._asked(principal, is_costly=type_ in COSTLY_COMMANDS)

    def _asked(self, principal: Principal, *, is_costly: bool) -> Standing:
        """The narrowest of what applies. What one of them refuses is not counted by those after it."""
        takes = []
        if principal.credential.startswith("key:"):
            takes.append((self._key, principal.credential))
        takes.append((self._user, principal.user))
        if is_costly:
            takes.append((self._costly, principal.user))
        standings = []
        for allowance, caller in takes:
            standing = self._allowances.take(allowance, caller)
            if standing.retry_after_s:
                return standing
            standings.append(standing)
        return min(standings, key=lambda standing: standing.remaining / standing.allowance.burst)


def check(standing: Standing) -> None:
    """Raises `RateLimited` when the request was too much."""
    if standing.retry_after_s:
        raise RateLimited("too many requests", retry_after=math.ceil(standing.retry_after_s * 1000) / 1000)
