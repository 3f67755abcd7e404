"""Who may do what: the only place that decides permission.

Two questions are asked for every command and call. Does the credential allow this kind of action (its scopes)? Does the
caller's role in the session, read at that moment, allow it? Neither answer is ever remembered on a connection.

`COMMANDS` and `ROUTES` say it for everything a caller can reach. The edges ask the first question by these tables
before they look at anything else, so what has no line here does not start; the sessions ask the second one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias, assert_never

from hub.domain.errors import Forbidden, NotFound
from hub.domain.organisation import OrgRole
from hub.domain.principal import Principal
from hub.domain.session import Role


class Scope(StrEnum):
    """What an API key may be limited to. A person's access token has none of these and may do all its user may."""

    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    RUNS_CONTROL = "runs:control"
    AGENTS_SERVE = "agents:serve"  # to speak as an agent of a team; asked for by name only
    ADMIN = "admin"  # the account itself: its keys; of an administrator, also the administration of the hub


DEFAULT_SCOPES = frozenset({Scope.SESSIONS_READ, Scope.SESSIONS_WRITE, Scope.RUNS_CONTROL})


class Action(StrEnum):
    """Everything somebody may want to do to a session, or to get one."""

    CREATE = "create"
    READ = "read"
    FETCH = "fetch"  # what is attached, for which whoever speaks as an agent there needs no more than the key for that
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
    SET_BUDGET = "set_budget"
    MANAGE_MEMBERS = "manage_members"
    ACCEPT_INVITE = "accept_invite"
    DELETE = "delete"
    ERASE = "erase"
    SERVE = "serve"


class Gate(StrEnum):
    """What is asked of a caller where no session is concerned."""

    PUBLIC = "public"  # nothing: whoever knocks
    KNOWN = "known"  # any credential that holds
    ACCOUNT = "account"  # the user's own account or organisations: a person, or an API key with the scope `admin`
    ADMIN = "admin"  # an administrator of the hub, in person or with such a key


class OrgAction(StrEnum):
    """Everything somebody may want to do to an organisation."""

    SEE = "see"
    LIST_MEMBERS = "list_members"
    UPDATE = "update"
    MANAGE_MEMBERS = "manage_members"
    MANAGE_OWNERS = "manage_owners"


Rule: TypeAlias = Gate | Action

COMMANDS: Mapping[str, Rule] = {
    "auth": Gate.KNOWN,
    "ping": Gate.KNOWN,
    "session.create": Action.CREATE,
    "session.join": Action.JOIN,
    "session.leave": Action.LEAVE,
    "session.fork": Action.FORK,
    "message.send": Action.SEND,
    "message.edit": Action.EDIT,
    "message.regenerate": Action.REGENERATE,
    "run.cancel": Action.CANCEL,
    "run.pause": Action.PAUSE,
    "run.resume": Action.RESUME,
    "input.respond": Action.RESPOND,
    "presence.set": Action.PRESENCE,
    "agent.register": Action.SERVE,
    "turn.delta": Action.SERVE,
    "turn.complete": Action.SERVE,
    "turn.decline": Action.SERVE,
}
"""Every command of the WebSocket."""

ROUTES: Mapping[str, Rule] = {
    "POST /v1/auth/register": Gate.PUBLIC,
    "POST /v1/auth/token": Gate.PUBLIC,
    "POST /v1/auth/revoke": Gate.PUBLIC,
    "GET /v1/auth/methods": Gate.PUBLIC,
    "GET /v1/auth/oidc": Gate.PUBLIC,
    "GET /v1/auth/oidc/callback": Gate.PUBLIC,
    "POST /v1/auth/oidc/token": Gate.PUBLIC,
    "POST /v1/auth/tickets": Gate.KNOWN,
    "POST /v1/auth/password": Gate.ACCOUNT,
    "POST /v1/auth/signout-all": Gate.ACCOUNT,
    "GET /v1/auth/sign-ins": Gate.ACCOUNT,
    "DELETE /v1/auth/sign-ins/{id}": Gate.ACCOUNT,
    "GET /v1/me": Gate.KNOWN,
    "DELETE /v1/me": Gate.ACCOUNT,
    "GET /v1/organisations": Gate.KNOWN,
    "POST /v1/organisations": Gate.ADMIN,
    "PATCH /v1/organisations/{id}": Gate.ACCOUNT,
    "PUT /v1/organisations/{id}/keep": Gate.ACCOUNT,
    "GET /v1/organisations/{id}/members": Gate.ACCOUNT,
    "PUT /v1/organisations/{id}/members/{user}": Gate.ACCOUNT,
    "DELETE /v1/organisations/{id}/members/{user}": Gate.ACCOUNT,
    "POST /v1/api-keys": Gate.ACCOUNT,
    "GET /v1/api-keys": Gate.ACCOUNT,
    "DELETE /v1/api-keys/{id}": Gate.ACCOUNT,
    "POST /v1/sessions": Action.CREATE,
    "GET /v1/sessions": Action.READ,
    "GET /v1/sessions/{id}": Action.READ,
    "PATCH /v1/sessions/{id}": Action.UPDATE,
    "DELETE /v1/sessions/{id}": Action.DELETE,
    "GET /v1/sessions/{id}/members": Action.READ,
    "PUT /v1/sessions/{id}/members/{user}": Action.MANAGE_MEMBERS,
    "DELETE /v1/sessions/{id}/members/{user}": Action.MANAGE_MEMBERS,  # or Action.LEAVE, for oneself
    "POST /v1/sessions/{id}/invites": Action.MANAGE_MEMBERS,
    "GET /v1/sessions/{id}/invites": Action.MANAGE_MEMBERS,
    "DELETE /v1/sessions/{id}/invites/{invite}": Action.MANAGE_MEMBERS,
    "POST /v1/invites/accept": Action.ACCEPT_INVITE,
    "POST /v1/sessions/{id}/fork": Action.FORK,
    "POST /v1/sessions/{id}/messages": Action.SEND,
    "PATCH /v1/sessions/{id}/messages/{message}": Action.EDIT,
    "POST /v1/sessions/{id}/messages/{message}/regenerate": Action.REGENERATE,
    "POST /v1/sessions/{id}/attachments": Action.SEND,
    "GET /v1/sessions/{id}/attachments/{attachment}": Action.FETCH,
    "DELETE /v1/sessions/{id}/attachments/{attachment}": Action.SEND,
    "GET /v1/sessions/{id}/events": Action.READ,
    "GET /v1/sessions/{id}/events/stream": Action.READ,
    "GET /v1/sessions/{id}/transcript": Action.READ,
    "GET /v1/sessions/{id}/export": Action.READ,
    "GET /v1/search": Action.READ,
    "GET /v1/sessions/{id}/usage": Action.READ,
    "GET /v1/sessions/{id}/budgets": Action.READ,
    "PUT /v1/sessions/{id}/budgets": Action.SET_BUDGET,
    "GET /v1/admin/users/{id}/budgets": Gate.ADMIN,
    "PUT /v1/admin/users/{id}/budgets": Gate.ADMIN,
    "GET /v1/admin/organisations/{id}/budgets": Gate.ADMIN,
    "PUT /v1/admin/organisations/{id}/budgets": Gate.ADMIN,
    "GET /v1/me/usage": Gate.ACCOUNT,
    "GET /v1/me/export": Gate.ACCOUNT,
    "GET /v1/admin/users/{id}/usage": Gate.ADMIN,
    "GET /v1/admin/users/{id}/export": Gate.ADMIN,
    "GET /v1/teams": Gate.KNOWN,
    "GET /v1/teams/schema.json": Gate.PUBLIC,
    "POST /v1/teams": Gate.ADMIN,
    "GET /v1/teams/{name}": Gate.ADMIN,
    "GET /v1/teams/{name}/versions": Gate.ADMIN,
    "PUT /v1/teams/{name}": Gate.ADMIN,
    "DELETE /v1/teams/{name}": Gate.ADMIN,
    "GET /v1/runs/{id}": Action.READ,
    "POST /v1/runs/{id}/cancel": Action.CANCEL,
    "GET /v1/admin/users": Gate.ADMIN,
    "DELETE /v1/admin/users/{id}": Gate.ADMIN,
    "DELETE /v1/admin/organisations/{id}": Gate.ADMIN,
    "POST /v1/admin/users/{id}/suspend": Gate.ADMIN,
    "POST /v1/admin/users/{id}/restore": Gate.ADMIN,
    "POST /v1/admin/users/{id}/signout": Gate.ADMIN,
    "GET /v1/admin/users/{id}/api-keys": Gate.ADMIN,
    "DELETE /v1/admin/api-keys/{id}": Gate.ADMIN,
    "GET /v1/admin/audit": Gate.ADMIN,
    "GET /.well-known/jwks.json": Gate.PUBLIC,
    "GET /v1/sessions/{id}/inputs": Action.READ,
    "GET /v1/sessions/{id}/calls/{call}": Action.READ,
    "POST /v1/sessions/{id}/inputs/{request}": Action.RESPOND,
    "GET /healthz": Gate.PUBLIC,
    "GET /readyz": Gate.PUBLIC,
    "GET /metrics": Gate.PUBLIC,
    "GET /openapi.json": Gate.PUBLIC,
    "GET /asyncapi.json": Gate.PUBLIC,
    "GET /docs": Gate.PUBLIC,
    "GET /docs/start.js": Gate.PUBLIC,
}
"""Every route of the API, by its pattern. Files of the chat page and assets are public; their names are the build's."""


def route_rule(method: str, pattern: str) -> Rule:
    """The rule of a route. Raises `LookupError` for one that nobody has decided about."""
    rule = ROUTES.get(f"{method} {pattern}")
    if rule is None:
        raise LookupError(f"{method} {pattern} has no policy: give it a line in ROUTES of hub.auth.policy")
    return rule


def require_credential(principal: Principal, rule: Rule) -> None:
    """Refuse what the caller's credential does not allow, whatever session it is about. Raises `Forbidden`."""
    match rule:
        case Gate.PUBLIC | Gate.KNOWN:
            return
        case Gate.ACCOUNT:
            require_account(principal)
        case Gate.ADMIN:
            require_admin(principal)
        case Action():
            require_scope(principal, rule)
        case _:
            assert_never(rule)


def needed_role(action: Action) -> Role | None:
    """The lowest role that may do this in a session; None where no session is concerned."""
    match action:
        case Action.CREATE | Action.ACCEPT_INVITE:
            return None
        case Action.READ | Action.FETCH | Action.JOIN | Action.LEAVE | Action.PRESENCE:
            return Role.VIEWER
        case Action.RESPOND:
            return Role.APPROVER
        case Action.SEND | Action.EDIT | Action.REGENERATE | Action.FORK | Action.UPDATE:
            return Role.EDITOR
        case Action.CANCEL | Action.PAUSE | Action.RESUME | Action.SERVE:
            return Role.EDITOR
        case Action.SET_BUDGET | Action.MANAGE_MEMBERS | Action.DELETE | Action.ERASE:
            return Role.OWNER
        case _:
            assert_never(action)


def needed_scopes(action: Action) -> tuple[Scope, ...]:
    """The scopes of which an API key needs one for this."""
    match action:
        case Action.READ | Action.JOIN | Action.LEAVE | Action.PRESENCE:
            return (Scope.SESSIONS_READ,)
        case Action.FETCH:
            return (Scope.SESSIONS_READ, Scope.AGENTS_SERVE)
        case Action.CANCEL | Action.PAUSE | Action.RESUME | Action.RESPOND:
            return (Scope.RUNS_CONTROL,)
        case Action.CREATE | Action.SEND | Action.EDIT | Action.REGENERATE | Action.FORK | Action.UPDATE:
            return (Scope.SESSIONS_WRITE,)
        case Action.SET_BUDGET | Action.MANAGE_MEMBERS | Action.ACCEPT_INVITE | Action.DELETE | Action.ERASE:
            return (Scope.SESSIONS_WRITE,)
        case Action.SERVE:
            return (Scope.AGENTS_SERVE,)
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


def require_org_role(role: OrgRole | None, action: OrgAction) -> None:
    """Refuse what `role`, the caller's own in this organisation, does not allow: `NotFound` for who does not belong to
    it, else `Forbidden`. Rights in sessions do not come from here."""
    if role is None:
        raise NotFound("no such organisation")
    match action:
        case OrgAction.SEE:
            allowed = True
        case OrgAction.LIST_MEMBERS:
            allowed = role is not OrgRole.GUEST
        case OrgAction.UPDATE | OrgAction.MANAGE_MEMBERS:
            allowed = role.manages
        case OrgAction.MANAGE_OWNERS:
            allowed = role is OrgRole.OWNER
        case _:
            assert_never(action)
    if not allowed:
        raise Forbidden("your role in the organisation does not allow this")


def require_scope(principal: Principal, action: Action) -> None:
    """Refuse what the credential was not made for. Asked first: its answer does not depend on any session."""
    _require(principal, *needed_scopes(action))


def require_account(principal: Principal) -> None:
    """Refuse to an API key without the scope `admin` what concerns the user's own account, such as making keys."""
    _require(principal, Scope.ADMIN)


def require_admin(principal: Principal) -> None:
    """Refuse to everybody but administrators what concerns the hub as a whole."""
    if not principal.is_admin:
        raise Forbidden("this needs an administrator")
    _require(principal, Scope.ADMIN)


def _require(principal: Principal, *scopes: Scope) -> None:
    if principal.scopes is not None and principal.scopes.isdisjoint(scopes):
        raise Forbidden(f"the API key lacks the scope {scopes[0].value}", details={"needed_scope": scopes[0].value})
