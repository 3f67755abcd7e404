"""Who may do what, as the protocol's table of roles says, action by action."""

from datetime import UTC, datetime

import pytest

from hub.auth.policy import DEFAULT_SCOPES, Action, Scope, needed_scopes, require_account, require_role, require_scope
from hub.domain.errors import Forbidden, NotFound
from hub.domain.ids import UserId, new_id
from hub.domain.principal import Principal
from hub.domain.session import Role

VIEWER = {Action.READ, Action.FETCH, Action.JOIN, Action.LEAVE, Action.PRESENCE}
APPROVER = VIEWER | {Action.RESPOND}
EDITOR = APPROVER | {
    Action.SEND,
    Action.EDIT,
    Action.REGENERATE,
    Action.FORK,
    Action.UPDATE,
    Action.CANCEL,
    Action.PAUSE,
    Action.RESUME,
    Action.SERVE,
}
OWNER = EDITOR | {Action.MANAGE_MEMBERS, Action.SET_BUDGET, Action.DELETE, Action.ERASE}
ALLOWED = {Role.VIEWER: VIEWER, Role.APPROVER: APPROVER, Role.EDITOR: EDITOR, Role.OWNER: OWNER}


def somebody(scopes: frozenset[str] | None = None) -> Principal:
    return Principal(UserId(new_id()), "ann", False, 1, "token:1", datetime.now(UTC), scopes)


def test_every_action_in_a_session_has_a_lowest_role() -> None:
    assert set(Action) - {Action.CREATE, Action.ACCEPT_INVITE} == OWNER


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", sorted(OWNER))
def test_a_role_may_do_exactly_what_the_table_says(role: Role, action: Action) -> None:
    if action in ALLOWED[role]:
        require_role(role, action)
    else:
        with pytest.raises(Forbidden):
            require_role(role, action)


@pytest.mark.parametrize("action", sorted(OWNER))
def test_a_stranger_gets_the_answer_of_a_session_that_does_not_exist(action: Action) -> None:
    with pytest.raises(NotFound):
        require_role(None, action)


@pytest.mark.parametrize("action", [Action.CREATE, Action.ACCEPT_INVITE])
def test_what_gets_one_a_session_needs_no_role(action: Action) -> None:
    require_role(None, action)


@pytest.mark.parametrize("action", Action)
def test_a_person_needs_no_scope(action: Action) -> None:
    require_scope(somebody(), action)


@pytest.mark.parametrize("action", Action)
def test_a_key_needs_the_scope_of_the_action(action: Action) -> None:
    needed = needed_scopes(action)
    for scope in needed:
        require_scope(somebody(frozenset({scope})), action)
    with pytest.raises(Forbidden):
        require_scope(somebody(frozenset(Scope).difference(needed)), action)


def test_the_account_is_closed_to_keys_without_admin() -> None:
    require_account(somebody())
    require_account(somebody(frozenset({Scope.ADMIN})))
    with pytest.raises(Forbidden):
        require_account(somebody(frozenset(DEFAULT_SCOPES)))
