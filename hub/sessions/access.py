"""The one way to a session: only through a membership, and unknown looks the same as forbidden."""

from datetime import UTC, datetime

from hub.auth.authenticator import ended
from hub.auth.policy import Action, require_role, require_scope
from hub.domain.errors import NotFound, Unauthenticated
from hub.domain.ids import OrganisationId, SessionId, parse_id
from hub.domain.principal import Principal
from hub.domain.session import Session
from hub.store import organisations, sessions
from hub.store.database import Db
from hub.store.transaction import Seen


def session_id(text: str) -> SessionId:
    """An id a caller sent. Raises `NotFound` when no session can have it."""
    parsed = parse_id(text)
    if parsed is None:
        raise NotFound("no such session")
    return SessionId(parsed)


async def reach(db: Db, principal: Principal, session: SessionId, action: Action, *, lock: bool = False) -> Session:
    """The session, if the caller may do this to it. Raises `NotFound` or `Forbidden`.

    `lock` keeps others from writing in the session until the transaction ends.
    """
    require_scope(principal, action)
    found = await sessions.get(db, session, principal.user, lock=lock)
    if found is None:
        raise NotFound("no such session")
    require_role(found.role, action)
    return found


async def seen_by(db: Db, principal: Principal, session: SessionId) -> Session:
    """The session as the caller sees it. Raises `NotFound` for who is no member of it."""
    found = await sessions.get(db, session, principal.user)
    if found is None:
        raise NotFound("no such session")
    return found


def reached(db: Db, principal: Principal, action: Action) -> Seen:
    """What the caller is in the session about which something was just read (`Store.reads`), if they may do this to it.
    Raises as `reach` does, of which it saves the statement; until then nothing of what was read may be used."""
    require_scope(principal, action)
    if db.seen is None:
        raise NotFound("no such session")
    require_role(db.seen.role, action)
    return db.seen


async def stay(db: Db, principal: Principal) -> None:
    """For what goes on for a while: whoever has lost their credential since gets no more. Raises `Unauthenticated`."""
    if principal.expires_at <= datetime.now(UTC) or await ended(db, [principal]):
        raise Unauthenticated("the credential has ended")


async def find_organisation(db: Db, text: str) -> OrganisationId:
    """The organisation with this id or name. Raises `NotFound`."""
    parsed = parse_id(text)
    id_ = OrganisationId(parsed) if parsed is not None else await organisations.by_name(db, text)
    if id_ is None or await organisations.get(db, id_) is None:
        raise NotFound("no such organisation")
    return id_
