"""What the users of one Locust process share: accounts, sessions to watch, the tally."""

import itertools
from collections import deque
from dataclasses import dataclass

from locust.env import Environment

from loadtests.account import Account
from loadtests.tally import Tally

SHOWN = 200  # sessions to watch that are kept: the newest


@dataclass(frozen=True)
class Show:
    """A session in which somebody talks, and an account that may watch it."""

    session: str
    account: Account


class Stage:
    """`accounts` are shared in turn: a registration costs the hub more than everything a user does afterwards."""

    def __init__(self, url: str, accounts: int) -> None:
        self.tally = Tally()
        self.shows: deque[Show] = deque(maxlen=SHOWN)
        self._accounts = itertools.cycle([Account(url) for _ in range(accounts)])
        self._turn = itertools.count()

    def account(self) -> Account:
        """The next account; it registers when it is first used."""
        return next(self._accounts)

    def show(self) -> Show | None:
        """A session to watch, in turn; None as long as nobody talks."""
        return self.shows[next(self._turn) % len(self.shows)] if self.shows else None


def stage_of(environment: Environment) -> Stage:
    """The stage that the locustfile has built."""
    stage: Stage = vars(environment)["hub_stage"]
    return stage
