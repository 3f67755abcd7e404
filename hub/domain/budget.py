"""Budgets: how much may be spent, by whom, and what is left of it.

Amounts are whole numbers: tokens, turns, tool calls, millionths of the operator's currency, milliseconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from hub.domain.usage import Spent

NOTHING = Spent()


class BudgetScope(StrEnum):
    """What a budget is for: a run, all of a session, and a day (UTC) of a user or of an organisation."""

    RUN = "run"
    SESSION = "session"
    USER = "user"
    ORGANISATION = "organisation"


class Quantity(StrEnum):
    """What is counted. `seconds` are those that turns take, without the time that people take."""

    TOKENS = "tokens"
    COST = "cost"
    TURNS = "turns"
    TOOL_CALLS = "tool_calls"
    SECONDS = "seconds"

    @property
    def per_unit(self) -> int:
        """How many of an amount make one of what people write."""
        return {Quantity.COST: 1_000_000, Quantity.SECONDS: 1_000}.get(self, 1)

    def amount(self, spent: Spent) -> int:
        """How much of this was spent."""
        match self:
            case Quantity.TOKENS:
                return spent.tokens
            case Quantity.COST:
                return spent.cost_micros
            case Quantity.TURNS:
                return spent.turns
            case Quantity.TOOL_CALLS:
                return spent.tool_calls
            case Quantity.SECONDS:
                return spent.duration_ms
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much of a quantity."""

    scope: BudgetScope
    quantity: Quantity
    amount: int


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit, and what is used of it, or would be by what is about to be done."""

    limit: Limit
    used: int


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits that all hold at once, and what was used in each scope before."""

    limits: Sequence[Limit] = ()
    used: Mapping[BudgetScope, Spent] = field(default_factory=dict)

    def reached(self, more: Spent = NOTHING) -> Reached | None:
        """The first limit, the narrowest scope first, that `more` reaches. Tool calls may come up to their limit:
        they are counted before they are made."""
        for limit in self.limits:
            used = limit.quantity.amount(self.used.get(limit.scope, NOTHING) + more)
            if used > limit.amount or (used == limit.amount and limit.quantity is not Quantity.TOOL_CALLS):
                return Reached(limit, used)
        return None

    def left(self, quantity: Quantity) -> int | None:
        """How much may be spent until some limit is reached; None when nothing limits it."""
        return min(
            (
                limit.amount - quantity.amount(self.used.get(limit.scope, NOTHING))
                for limit in self.limits
                if limit.quantity is quantity
            ),
            default=None,
        )


def stacked(hub: Iterable[Limit], team: Iterable[Limit], own: Iterable[Limit]) -> list[Limit]:
    """All limits that hold, narrowest scope first, of one quantity the smallest first.

    What is set for a session (`own`) stands for what its team says, and the hub's limits hold beside; what is set for a
    user or an organisation stands for what the hub says of all.
    """
    whose = {(limit.scope, limit.quantity): limit for limit in own}
    inner = (BudgetScope.RUN, BudgetScope.SESSION)
    kept = [limit for limit in team if (limit.scope, limit.quantity) not in whose]
    kept += [limit for limit in hub if limit.scope in inner or (limit.scope, limit.quantity) not in whose]
    scopes, quantities = list(BudgetScope), list(Quantity)
    return sorted(
        [*kept, *whose.values()],
        key=lambda limit: (scopes.index(limit.scope), quantities.index(limit.quantity), limit.amount),
    )


def parse_limits(text: str) -> list[Limit]:
    """`run.tokens=200000, user.cost=2.50` → limits. ValueError tells what is wrong."""
    limits = dict[tuple[BudgetScope, Quantity], Limit]()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = part.partition("=")
        scope, dot, quantity = name.strip().partition(".")
        if not equals or not dot or scope not in list(BudgetScope) or quantity not in list(Quantity):
            raise ValueError(
                f"budgets are written scope.quantity=number, with the scopes {', '.join(BudgetScope)} and the "
                f"quantities {', '.join(Quantity)}, not {part!r}"
            )
        try:
            limit = limit_of(BudgetScope(scope), Quantity(quantity), float(value))
        except (ValueError, OverflowError):
            raise ValueError(f"a budget is a number from 0 on, not {value.strip()!r}") from None
        if (limit.scope, limit.quantity) in limits:
            raise ValueError(f"{scope}.{quantity} is given twice")
        limits[limit.scope, limit.quantity] = limit
    return list(limits.values())


def limit_of(scope: BudgetScope, quantity: Quantity, number: float) -> Limit:
    """A limit as people write it: money in the currency, time in seconds. ValueError for what is no amount."""
    amount = round(number * quantity.per_unit)
    if not 0 <= amount < 2**53:
        raise ValueError("not an amount")
    return Limit(scope, quantity, amount)
