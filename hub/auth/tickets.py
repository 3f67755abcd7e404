"""One-time tickets: what a browser may put into the URL of a WebSocket, where a long-lived secret must not be."""

import hashlib
import secrets
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from hub.domain.errors import Unauthenticated
from hub.domain.ids import OrganisationId, UserId
from hub.domain.principal import Principal
from hub.relay.tickets import TicketStore

LIFETIME_S = 30
TICKET_BYTES = 32


class _Bound(BaseModel):
    """What a ticket stands for: the credential it was minted with, and where it may be used."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    user: str
    name: str
    is_admin: bool
    auth_version: int
    credential: str
    expires_at: datetime
    scopes: list[str] | None
    grant: str | None
    origin: str | None
    home: str | None = None


class Tickets:
    """Mints tickets and takes them back. They live in Redis only; without it nobody gets one."""

    def __init__(self, kept: TicketStore) -> None:
        self._kept = kept

    async def mint(self, principal: Principal, *, origin: str | None) -> str:
        """A ticket that works once within 30 s, for this caller, and from this Origin if there is one.

        Raises `Unavailable` when Redis does not answer.
        """
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        bound = _Bound(
            user=principal.user,
            name=principal.name,
            is_admin=principal.is_admin,
            auth_version=principal.auth_version,
            credential=principal.credential,
            expires_at=principal.expires_at,
            scopes=sorted(principal.scopes) if principal.scopes is not None else None,
            grant=principal.grant,
            origin=origin,
            home=principal.home,
        )
        await self._kept.put(_hash(ticket), bound.model_dump_json().encode(), LIFETIME_S)
        return ticket

    async def take(self, ticket: str, *, origin: str | None) -> Principal:
        """Whom the ticket was minted for; it is used up, also when `origin` turns out to be the wrong one.

        Raises `Unauthenticated` for a ticket that is unknown, used, too old or from elsewhere, `Unavailable` when
        Redis does not answer.
        """
        found = await self._kept.take(_hash(ticket))
        if found is None:
            raise Unauthenticated("the ticket is not valid")
        try:
            bound = _Bound.model_validate_json(found)
        except ValidationError as e:
            raise Unauthenticated("the ticket is not valid") from e
        if (bound.origin is not None and bound.origin != origin) or bound.expires_at <= datetime.now(UTC):
            raise Unauthenticated("the ticket is not valid")
        return Principal(
            user=UserId(bound.user),
            name=bound.name,
            is_admin=bound.is_admin,
            auth_version=bound.auth_version,
            credential=bound.credential,
            expires_at=bound.expires_at,
            scopes=frozenset(bound.scopes) if bound.scopes is not None else None,
            grant=bound.grant,
            home=OrganisationId(bound.home) if bound.home is not None else None,
        )


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()
