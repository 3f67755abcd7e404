"""What a turn may spend, kept up to date while it does."""

from collections.abc import Awaitable, Callable, Sequence

from hub.domain.budget import Budgets, Limit, Quantity, Reached
from hub.domain.usage import Spent

Look = Callable[[], Awaitable[Budgets]]
"""Reads the budgets anew: somebody may have raised them."""


class OverBudget(Exception):
    """A budget is used up: nothing more may be spent."""

    def __init__(self, reached: Reached) -> None:
        super().__init__(f"{reached.limit.scope} {reached.limit.quantity}: {reached.used} of {reached.limit.amount}")
        self.reached = reached


class Allowance:
    """The budgets of one turn. Model calls and tool calls are counted here as they happen; before one that would reach
    a limit, and at the piece of a stream that does, the budgets are read anew, and then the turn ends (`OverBudget`).

    Without budgets it counts nothing and costs nothing.
    """

    def __init__(self, budgets: Budgets | None = None, look: Look | None = None) -> None:
        self._budgets = budgets or Budgets()
        self._look = look
        self._tokens = 0.0
        self._cost = 0.0
        self._tool_calls = 0
        self.is_bounded = bool(self._budgets.limits)
        self.reached: Reached | None = None
        self._tokens_left, self._cost_left = self._lefts()

    @property
    def budgets(self) -> Budgets:
        """As they were read last."""
        return self._budgets

    def seconds(self, at_most: float) -> float:
        """How long the turn may take."""
        left = self._budgets.left(Quantity.SECONDS)
        return at_most if left is None else min(at_most, max(left, 0) / 1_000)

    async def spend(self, tokens: float, cost: float) -> None:
        """Count what is about to be sent. Raises OverBudget when there is not enough left."""
        self.add(tokens, cost)
        if self.is_over:
            try:
                await self.check()
            except OverBudget:
                self.add(-tokens, -cost)
                raise

    def add(self, tokens: float, cost: float) -> None:
        """Count tokens and their cost in millionths; with negative numbers, correct what was a guess."""
        self._tokens += tokens
        self._cost += cost

    @property
    def is_over(self) -> bool:
        """Whether tokens or money have come to a limit, as far as is known here. Asked for every token."""
        return self._tokens >= self._tokens_left or self._cost >= self._cost_left

    async def call_tools(self, number: int) -> None:
        """Count tool calls that are about to be made. Raises OverBudget when they are too many."""
        if self.is_bounded:
            self._tool_calls += number
            await self.check()

    async def check(self) -> None:
        """Raises OverBudget when a limit is reached and nobody has raised it."""
        if self._budgets.reached(self._spent()) is None:
            return
        if self._look is not None:
            self._budgets = await self._look()
            self._tokens_left, self._cost_left = self._lefts()
        self.reached = self._budgets.reached(self._spent())
        if self.reached is not None:
            raise OverBudget(self.reached)

    def _spent(self) -> Spent:
        return Spent(completion_tokens=int(self._tokens), cost_micros=int(self._cost), tool_calls=self._tool_calls)

    def _lefts(self) -> tuple[float, float]:
        tokens, cost = self._budgets.left(Quantity.TOKENS), self._budgets.left(Quantity.COST)
        return float("inf") if tokens is None else tokens, float("inf") if cost is None else cost


class Within(Allowance):
    """The budgets of a part of a turn, within those of the turn `around` it: what is spent counts in both, and
    whichever limit is reached ends the turn."""

    def __init__(self, around: Allowance, limits: Sequence[Limit]) -> None:
        super().__init__(Budgets(limits))
        self._around = around

    def add(self, tokens: float, cost: float) -> None:
        super().add(tokens, cost)
        self._around.add(tokens, cost)

    @property
    def is_over(self) -> bool:
        return super().is_over or self._around.is_over

    async def call_tools(self, number: int) -> None:
        await self._around.call_tools(number)
        await super().call_tools(number)

    async def check(self) -> None:
        await self._around.check()
        try:
            await super().check()
        except OverBudget as e:
            self._around.reached = e.reached
            raise
