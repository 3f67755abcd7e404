"""Who may do what: the only place that decides permission.

Two questions are asked for every command and call. Does the credential allow this kind of action (its scopes)? Does the
caller's role in the session, read at that moment, allow it? Neither answer is ever remembered on a connection.
"""

from enum import StrEnum
from typing import assert_never

from hub.domain.errors import Forbidden, NotFound
from hub.domain.principal import Principal
from hub.domain.session import Role


class Scope(StrEnum):
    """What an API key may be limited to. A person's access token has none of these and may do all its user may."""

    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    RUNS_CONTROL = "runs:control"
    ADMIN = "admin"  # the account itself: its keys


DEFAULT_SCOPES = frozenset({Scope.SESSIONS_READ, Scope.SESSIONS_WRITE, Scope.RUNS_CONTROL})


class Action(StrEnum):
    """Everything somebody may want to do to a session, or to get one."""

    CREATE = "create"
    READ = "read"
    JOIN = "join"
    LEAVE = "leave"
    PRESENCE = "presence"
    RESPOND = "respond"
    SEND = "send"
    EDIT = "edit"
    REGENERATE = "regenerate"
    FORK = "fork"
    UPDATE = "update"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    MANAGE_MEMBERS = "manage_members"
    DELETE = "delete"
    ERASE = "erase"


def needed_role(action: Action) -> Role | None:
    """The lowest role that may do this in a session; None where no session is concerned."""
    match action:
        case Action.CREATE:
            return None
        case Action.READ | Action.JOIN | Action.LEAVE | Action.PRESENCE:
            return Role.VIEWER
        case Action.RESPOND:
            return Role.APPROVER
        case Action.SEND | Action.EDIT | Action.REGENERATE | Action.FORK | Action.UPDATE:
            return Role.EDITOR
        case Action.CANCEL | Action.PAUSE | Action.RESUME:
            return Role.EDITOR
        case Action.MANAGE_MEMBERS | Action.DELETE | Action.ERASE:
            return Role.OWNER
        case _:
            assert_never(action)


def needed_scope(action: Action) -> Scope:
    """The scope an API key needs for this."""
    match action:
        case Action.READ | Action.JOIN | Action.LEAVE | Action.PRESENCE:
            return Scope.SESSIONS_READ
        case Action.CANCEL | Action.PAUSE | Action.RESUME | Action.RESPOND:
            return Scope.RUNS_CONTROL
        case Action.CREATE | Action.SEND | Action.EDIT | Action.REGENERATE | Action.FORK | Action.UPDATE:
            return Scope.SESSIONS_WRITE
        case Action.MANAGE_MEMBERS | Action.DELETE | Action.ERASE:
            return Scope.SESSIONS_WRITE
        case _:
            assert_never(action)


def require_role(role: Role | None, action: Action) -> None:
    """Refuse what `role`, the caller's own in this session, does not allow.

    Without a role (not a member, no such session) the answer is `NotFound`, so that a stranger learns nothing;
    with one that is too low it is `Forbidden`.
    """
    needed = needed_role(action)
    if needed is None:
        return
    if role is None:
        raise NotFound("no such session")
    if not role.includes(needed):
        raise Forbidden(f"this needs the role {needed.value} in the session", details={"needed_role": needed.value})


def require_scope(principal: Principal, action: Action) -> None:
    """Refuse what the credential was not made for. Asked first: its answer does not depend on any session."""
    _require(principal, needed_scope(action))


def require_account(principal: Principal) -> None:
    """Refuse to an API key without the scope `admin` what concerns the user's own account, such as making keys."""
    _require(principal, Scope.ADMIN)


def _require(principal: Principal, scope: Scope) -> None:
    if principal.scopes is not None and scope not in principal.scopes:
        raise Forbidden(f"the API key lacks the scope {scope.value}", details={"needed_scope": scope.value})
