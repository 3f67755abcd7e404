"""Who showed a credential a moment ago: what the database said then is good enough for one more handshake now."""

import hashlib
import time
from collections import OrderedDict
from datetime import UTC, datetime

from hub.domain.ids import UserId
from hub.domain.principal import Principal

# From before the database was asked. With what the watch over open sockets takes (2.2 s), whoever comes in on an old
# answer is out again within the 5 s that are promised, also when nobody tells of the end.
FRESH_S = 2.0
MAX_KNOWN = 10_000  # credentials; who was asked about longest ago is forgotten


class Known:
    """Answers about tokens and API keys, none older than 2 s. Only that somebody may come in is kept, by the hash of
    what they showed; a ticket never comes here, for it works once."""

    def __init__(self, *, fresh_s: float = FRESH_S, most: int = MAX_KNOWN) -> None:
        self._fresh_s = fresh_s
        self._most = most
        self._answers: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._ended: OrderedDict[UserId, float] = OrderedDict()  # since when no older answer counts

    def find(self, token: str) -> Principal | None:
        """Who shows this, if that was asked a moment ago and nobody has said since that something of theirs ended."""
        found = self._answers.get(_hash(token))
        if found is None:
            return None
        principal, asked_at = found
        if (
            time.monotonic() - asked_at > self._fresh_s
            or asked_at <= self._ended.get(principal.user, 0.0)
            or principal.expires_at <= datetime.now(UTC)
        ):
            return None
        return principal

    def keep(self, token: str, principal: Principal, asked_at: float) -> None:
        """The database said so; it was asked at this time of the monotonic clock, or later."""
        key = _hash(token)
        self._answers[key] = (principal, asked_at)
        self._answers.move_to_end(key)
        now = time.monotonic()
        while len(self._answers) > self._most or now - next(iter(self._answers.values()))[1] > self._fresh_s:
            self._answers.popitem(last=False)
            if not self._answers:  # this one took as long
                return

    def forget(self, user: UserId) -> None:
        """Something of this user's has ended: what was asked before now, and what is being asked, does not count."""
        now = time.monotonic()
        self._ended[user] = now
        self._ended.move_to_end(user)
        while now - next(iter(self._ended.values())) > self._fresh_s:  # no answer is as old as that
            self._ended.popitem(last=False)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
