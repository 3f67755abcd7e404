"""What a tool is: a name, what it takes, who may have it called and how, and the function behind it."""

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from hub.domain.ids import RunId, SessionId
from hub.domain.team import Approval
from hub.engine.tools.conditions import Condition

GROUP = "agenthub.tools"
"""The entry points by which packages offer tools."""


class ToolKind(StrEnum):
    """Who makes a call of the tool, and what follows when nobody knows whether it was made.

    `safe`: it changes nothing, or the same however often it is called. The engine calls it within the turn, and again
    when the turn is repeated.
    `effect`: it is called once, by the run, which records it before and after. Only a person may have it called again.
    `approval`: as `effect`, and only after people have agreed to the very arguments.
    `question`: a person's answer is its result; the function gives the words to ask.
    """

    SAFE = "safe"
    EFFECT = "effect"
    APPROVAL = "approval"
    QUESTION = "question"


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where a call comes from: the session and run, the team and its agent, and the user whose message asked for the
    run (the name of the account).

    `call` is the call's id. A call with an effect has the same one in `tool.called` and here, so a service that takes
    idempotency keys can be given it; a call that a person has made again has a new one.
    """

    session: SessionId
    run: RunId
    team: str
    agent: str
    user: str
    call: str
    _stop: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for the call any more: a function in a thread cannot be ended, and should end itself."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stop.set()


Arguments: TypeAlias = Mapping[str, object]
Function: TypeAlias = Callable[[Arguments, ToolContext], Awaitable[str]]
BlockingFunction: TypeAlias = Callable[[Arguments, ToolContext], str]


@dataclass(frozen=True, slots=True)
class Tool:
    """Something an agent may have done.

    `parameters` is the JSON schema of the arguments, an object. `run` checks them itself (pydantic's ValidationError),
    may raise anything, and may be cancelled; `blocking` stands for it when the function is to run in a thread;
    with neither the tool is not available yet.
    `timeout_s` is the wall-clock limit of a call, None the registry's. A call for which `approve_if` holds needs
    approval whatever the `kind`. Approval takes `approvers` different people, and with `by_others` none of them is the
    user whose message asked for the run. `teams` and `users` are who may have it called, by name; None is everybody.
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    kind: ToolKind
    run: Function | None = None
    blocking: BlockingFunction | None = None
    timeout_s: float | None = None
    approve_if: Condition | None = None
    approvers: int = 1
    by_others: bool = False
    teams: frozenset[str] | None = None
    users: frozenset[str] | None = None

    def kind_of_call(self, arguments: Arguments) -> ToolKind:
        """What a call with these arguments is."""
        if self.kind is not ToolKind.QUESTION and self.approve_if is not None and self.approve_if.holds(arguments):
            return ToolKind.APPROVAL
        return self.kind

    def tightened(self, approval: Approval) -> "Tool":
        """The tool with what a team wants approved beside what the tool wants itself: of two rules about people the
        stricter one holds. Questions are put to people anyway."""
        if self.kind is ToolKind.QUESTION:
            return self
        changed = replace(
            self,
            approvers=max(self.approvers, approval.approvers),
            by_others=self.by_others or approval.by_others,
        )
        if not approval.when:
            return replace(changed, kind=ToolKind.APPROVAL)
        wanted = Condition.any_of(approval.when)
        return replace(changed, approve_if=wanted if self.approve_if is None else self.approve_if | wanted)

    @property
    def is_always_safe(self) -> bool:
        """Whether no call of it waits for a person or is recorded by the run."""
        return self.kind is ToolKind.SAFE and self.approve_if is None
