"""What there is only so much of over all workers, and how much of it one user and one organisation may hold."""

from hub.domain.errors import RateLimited
from hub.domain.principal import Principal
from hub.relay.holdings import Cap, Exceeded, Held, Holdings

RETRY_AFTER_S = 5.0


class Place:
    """One that somebody holds until it is released."""

    def __init__(self, what: str, held: Held) -> None:
        self._what = what
        self._held = held

    async def confirm(self) -> None:
        """Returns when it counts at all workers, or they cannot be asked. Raises `RateLimited` when it is one too many;
        it is released then."""
        try:
            await self._held.confirm()
        except Exceeded as e:
            raise _too_many(self._what, e.cap) from None

    def release(self) -> None:
        """Let somebody else have it; more often than once does no harm."""
        self._held.release()


class Places:
    """`what` names them for people, in plural. People count for the organisation that they are at home in;
    `per_organisation` None: no limit."""

    def __init__(self, what: str, holdings: Holdings, per_user: int, per_organisation: int | None = None) -> None:
        self._what = what
        self._holdings = holdings
        self._per_user = per_user
        self._per_organisation = per_organisation

    def take(self, principal: Principal) -> Place:
        """One more for this caller, to be confirmed and released. Raises `RateLimited` when this worker knows already
        that they, or their organisation, hold all they may."""
        caps = [Cap(f"{self._what}:user:{principal.user}", self._per_user)]
        if self._per_organisation is not None and principal.home is not None:
            caps.append(Cap(f"{self._what}:organisation:{principal.home}", self._per_organisation))
        try:
            return Place(self._what, self._holdings.take(caps))
        except Exceeded as e:
            raise _too_many(self._what, e.cap) from None


def _too_many(what: str, cap: Cap) -> RateLimited:
    message = (
        f"too many {what} of your organisation: some have to be closed first"
        if cap.holder.startswith(f"{what}:organisation:")
        else f"too many {what} of one user: close one first"
    )
    return RateLimited(message, retry_after=RETRY_AFTER_S, details={"limit": cap.most})
