"""Organisations (tenants): every session belongs to exactly one, and only its people can be members."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hub.domain.ids import OrganisationId, UserId

FIRST_ORGANISATION = OrganisationId("00000000-0000-7000-8000-000000000000")
"""Where everybody is at home who has not been put elsewhere: on a hub that knows of no others, everybody."""


SHORTEST_KEPT_S = 60
"""No organisation keeps its sessions for less: a fork takes less, which is hidden like deleted ones meanwhile."""


class OrgRole(StrEnum):
    """What somebody is in an organisation. It gives no rights in its sessions: those come from being a member there."""

    OWNER = "owner"  # also makes and unmakes owners
    ADMIN = "admin"  # lets people in and takes them out
    MEMBER = "member"  # opens sessions
    GUEST = "guest"  # is in the sessions they were invited to, never as their owner, and opens none

    @property
    def manages(self) -> bool:
        """Whether this role decides who belongs to the organisation."""
        return self in (OrgRole.OWNER, OrgRole.ADMIN)


@dataclass(frozen=True, slots=True)
class OrgKeep:
    """How long, in seconds, an organisation keeps sessions in which nothing happens any more (`sessions_s`), and what
    was said in those that were deleted (`deleted_s`). Where the hub's own time is shorter, that one holds; None: the
    hub's."""

    sessions_s: int | None = None
    deleted_s: int | None = None


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation as one of its people sees it. `guests`: people of elsewhere may be invited to sessions. `home`:
    sessions this person opens without saying where belong to it."""

    id: OrganisationId
    name: str
    guests: bool
    role: OrgRole | None
    home: bool
    created_at: datetime
    keep: OrgKeep


@dataclass(frozen=True, slots=True)
class OrgMember:
    """Somebody of an organisation."""

    user: UserId
    name: str
    role: OrgRole
