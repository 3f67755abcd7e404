"""Who is calling."""

from dataclasses import dataclass
from datetime import datetime

from hub.domain.ids import OrganisationId, UserId


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: the user, what the credential may do, and when the credential ends.

    `scopes` is None for a person's access token (everything the user may do) and a set for an API key.
    `credential` names what was shown (`token:<jti>`, `key:<id>`, `ticket`), for audit and revocation, never the secret.
    `auth_version` is the user's version at the time of authentication: a higher one in the store revokes it.
    `address` is where the caller is, as far as the edge can tell, for audit.
    `grant` is the sign-in an access token descends from (its family of refresh tokens): ending it ends the token.
    `home` is the organisation they were at home in then, for which what they hold counts.
    """

    user: UserId
    name: str
    is_admin: bool
    auth_version: int
    credential: str
    expires_at: datetime
    scopes: frozenset[str] | None = None
    grant: str | None = None
    home: OrganisationId | None = None
    address: str | None = None
