"""Budgets as numbers: how they are written, how they stack, when one is reached."""

import pytest

from hub.domain.budget import Budgets, BudgetScope, Limit, Quantity, limit_of, parse_limits, stacked
from hub.domain.usage import Spent

RUN, SESSION, USER, ORGANISATION = BudgetScope
TOKENS, COST, TURNS, TOOL_CALLS, SECONDS = Quantity


def test_as_operators_write_them() -> None:
    assert parse_limits("") == []
    assert parse_limits(" run.tokens=20000, user.cost=2.50,session.seconds=1.5 ,") == [
        Limit(RUN, TOKENS, 20_000),
        Limit(USER, COST, 2_500_000),
        Limit(SESSION, SECONDS, 1_500),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens=1", "scope.quantity=number"),
        ("run.words=1", "tokens, cost, turns"),
        ("team.tokens=1", "run, session, user"),
        ("run.tokens", "scope.quantity=number"),
        ("run.tokens=many", "not 'many'"),
        ("run.tokens=-1", "not '-1'"),
        ("run.tokens=nan", "not 'nan'"),
        ("run.tokens=inf", "not 'inf'"),
        ("run.tokens=1e300", "not '1e300'"),
        ("run.tokens=1,run.tokens=2", "given twice"),
    ],
)
def test_what_is_no_budget_is_said(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_limits(text)


def test_what_is_set_stands_for_the_teams_and_beside_the_hubs() -> None:
    hub = [Limit(ORGANISATION, COST, 9), Limit(USER, COST, 5), Limit(SESSION, TOKENS, 100)]
    team = [Limit(SESSION, TOKENS, 50), Limit(RUN, TOKENS, 10)]
    assert stacked(hub, team, []) == [team[1], team[0], hub[2], hub[1], hub[0]]
    own = [Limit(SESSION, TOKENS, 70), Limit(USER, COST, 8), Limit(RUN, TURNS, 3)]
    assert stacked(hub, team, own) == [
        Limit(RUN, TOKENS, 10),
        Limit(RUN, TURNS, 3),
        Limit(SESSION, TOKENS, 70),
        Limit(SESSION, TOKENS, 100),
        Limit(USER, COST, 8),
        Limit(ORGANISATION, COST, 9),
    ]


@pytest.mark.parametrize(
    ("quantity", "spent", "reached"),
    [
        (TOKENS, Spent(5, 4), False),
        (TOKENS, Spent(5, 5), True),
        (COST, Spent(cost_micros=10), True),
        (TURNS, Spent(turns=9), False),
        (TURNS, Spent(turns=10), True),
        (SECONDS, Spent(duration_ms=10), True),
        (TOOL_CALLS, Spent(tool_calls=10), False),
        (TOOL_CALLS, Spent(tool_calls=11), True),
    ],
)
def test_a_limit_is_reached(quantity: Quantity, spent: Spent, reached: bool) -> None:
    budgets = Budgets([Limit(RUN, quantity, 10)], {RUN: spent})
    assert (budgets.reached() is not None) is reached
    assert (Budgets([Limit(SESSION, quantity, 10)], {RUN: spent}).reached(spent) is not None) is reached


def test_what_is_left_is_left_in_the_narrowest_of_all() -> None:
    budgets = Budgets([Limit(RUN, TOKENS, 10), Limit(USER, TOKENS, 100)], {USER: Spent(95), RUN: Spent(1)})
    assert budgets.left(TOKENS) == 5
    assert budgets.left(COST) is None
    found = budgets.reached(Spent(5))
    assert found is not None
    assert (found.limit.scope, found.used) == (USER, 100)
    assert limit_of(RUN, COST, 0.0000004).amount == 0
