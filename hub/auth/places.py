"""What there is only so much of over all workers, and how much of it one user and one organisation may hold."""

from collections import Counter
from collections.abc import Callable

from hub.domain.errors import RateLimited
from hub.domain.principal import Principal
from hub.relay.holdings import Cap, Exceeded, Held, Holdings

RETRY_AFTER_S = 5.0


class Place:
    """One that somebody holds until it is released."""

    __slots__ = ("_held", "_places")

    def __init__(self, places: "Places", held: Held) -> None:
        self._places = places
        self._held = held

    async def confirm(self) -> None:
        """Returns when it counts at all workers, or they cannot be asked. Raises `RateLimited` when it is one too many;
        it is released then."""
        try:
            await self._held.confirm()
        except Exceeded as e:
            raise self._places.refusal(e.cap) from None

    def when_confirmed(self, then: Callable[[RateLimited | None], None]) -> None:
        """`confirm` without waiting: calls `then` once, perhaps at once, with the refusal if it is one."""
        self._held.when_answered(lambda cap: then(None if cap is None else self._places.refusal(cap)))

    def release(self) -> None:
        """Let somebody else have it; more often than once does no harm."""
        self._held.release()


class Places:
    """`what` names them for people, in plural. People count for the organisation that they are at home in;
    `per_organisation` None: no limit. `refused` counts refusals here, by what and whose (`user`, `organisation`)."""

    def __init__(self, what: str, holdings: Holdings, per_user: int, per_organisation: int | None = None) -> None:
        self._what = what
        self._holdings = holdings
        self._per_user = per_user
        self._per_organisation = per_organisation
        self.refused = Counter[tuple[str, ...]]()

    def take(self, principal: Principal) -> Place:
        """One more for this caller, to be confirmed and released. Raises `RateLimited` when this worker knows already
        that they, or their organisation, hold all they may."""
        caps = [Cap(f"{self._what}:user:{principal.user}", self._per_user)]
        if self._per_organisation is not None and principal.home is not None:
            caps.append(Cap(f"{self._what}:organisation:{principal.home}", self._per_organisation))
        try:
            return Place(self, self._holdings.take(caps))
        except Exceeded as e:
            raise self.refusal(e.cap) from None

    def refusal(self, cap: Cap) -> RateLimited:
        """Counts a refusal; the error that tells of it."""
        whose = cap.holder.split(":")[1]
        self.refused[self._what, whose] += 1
        message = (
            f"too many {self._what} of your organisation: some have to be closed first"
            if whose == "organisation"
            else f"too many {self._what} of one user: close one first"
        )
        return RateLimited(message, retry_after=RETRY_AFTER_S, details={"limit": cap.most})
