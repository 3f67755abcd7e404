"""The seam between a run and whatever makes agents talk.

An engine does one turn at a time. It holds nothing between turns: everything it must remember goes into the state it
returns, and comes back with the next request, possibly on another machine.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from hub.domain.ids import RunId, SessionId
from hub.domain.run import ModelCall, Usage
from hub.domain.team import ORCHESTRATOR, AgentSpec, TeamSpec
from hub.engine.allowance import Allowance
from hub.engine.tools.tool import ToolContext

SUMMARY = "summary"
"""Who a summary of what was said before is by, for models."""

NOT_PEOPLE = frozenset({ORCHESTRATOR, "magenticoneorchestrator", SUMMARY})
"""Under which names, in lower case, models are told of what no person and no agent of the team has said: by who leads
it, also as AutoGen calls it, and by nobody."""


@dataclass(frozen=True, slots=True)
class Input:
    """A message the team has not seen yet. `source` is a slug that fits model providers (`[A-Za-z0-9_-]{1,63}`):
    a user's name made safe, or an agent's name when its own interrupted words are given back to it."""

    source: str
    text: str
    is_agent: bool = False


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A tool call that the agent asks for and the run carries out. `call` is its id, made by the engine, under which
    the state awaits the result; `arguments` is canonical JSON of an object."""

    call: str
    agent: AgentSpec
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallResult:
    """What an `AskedCall` came to, for the model."""

    call: str
    name: str
    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """Do turn number `turn` (0-based) of this run.

    `state` is what the last successful turn of this *session* returned (None: nobody has spoken yet). `inputs` are the
    messages the state does not hold, oldest first; they are not empty on the first turn of a run. `prompt` is the
    text of the message that asked for the run, on every turn of it. `to` addresses an agent by name, if any.
    `timeout_s` is the wall-clock limit of this turn. `user` is the name of the account whose message that is. `attempt`
    grows with every worker that takes the run over. `allowance` is what the turn may spend.

    When `state` came with the outcome `calls`, `results` tells what they came to; what is missing there was not
    carried out. With `goes_on` it is this very turn that asked for them: the same agent speaks on, and the request has
    no `inputs`. Without, that turn was stopped, and the results only belong into what the agents know.
    """

    session: SessionId
    run: RunId
    team: TeamSpec
    turn: int
    state: str | None
    inputs: tuple[Input, ...]
    prompt: str
    to: str | None
    timeout_s: float
    results: tuple[CallResult, ...] = ()
    goes_on: bool = False
    allowance: Allowance = field(default_factory=Allowance)
    user: str = ""
    attempt: int = 1

    def context(self, agent: AgentSpec, call: str) -> ToolContext:
        """Where a call of a tool in this turn comes from."""
        return ToolContext(self.session, self.run, self.team.name, agent.name, self.user, call)


# ---- what an engine tells while it works, in order


@dataclass(frozen=True, slots=True)
class AgentStarted:
    """The agent of this turn is known and begins. Comes first, once per agent that speaks in the turn."""

    agent: AgentSpec


# Not frozen: there is one for every token, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class TextDelta:
    """The next piece of a message. The first one opens the message; only `MessageEnded` closes it."""

    message: str
    agent: AgentSpec
    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """The next piece of what the model thinks aloud before or within a message."""

    message: str
    agent: AgentSpec
    text: str


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """A message is finished; `text` replaces what was streamed. `usage` is that of the model call that made it."""

    message: str
    agent: AgentSpec
    text: str
    usage: Usage
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class MessageVoided:
    """What was streamed of a message does not count: `agent` begins its part of the turn anew, with another message."""

    message: str
    agent: AgentSpec
    reason: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The engine is about to call a safe tool: it does, only after `emit` has returned. `arguments` is a JSON
    object."""

    call: str
    agent: AgentSpec
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """`result` is all of it, which may be more than the agent was given."""

    call: str
    agent: AgentSpec
    name: str
    result: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Handoff:
    source: str
    to: str
    reason: str


EngineEvent = (
    AgentStarted | TextDelta | ReasoningDelta | MessageEnded | MessageVoided | ToolStarted | ToolEnded | Handoff
)

Emit = Callable[[EngineEvent], Awaitable[None]]
"""Awaiting it is the back-pressure: it reaches the model's stream. It raises only when the turn must end at once."""


class Outcome(StrEnum):
    """How a turn ended: `next` (more to do), `done` (the team has finished), `calls` (it goes on once the calls it asks
    for have results), or without a result."""

    NEXT = "next"
    CALLS = "calls"
    DONE = "done"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Failure(StrEnum):
    """Why a turn failed, in words a client may see (`run.finished.error.code`)."""

    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_REFUSED = "model_refused"
    MODEL_STALLED = "model_stalled"
    MODEL_RATE_LIMITED = "model_rate_limited"
    CONTEXT_TOO_LONG = "context_too_long"
    MALFORMED_OUTPUT = "malformed_output"
    BUDGET_EXCEEDED = "budget_exceeded"
    BOT_UNAVAILABLE = "bot_unavailable"
    BOT_DECLINED = "bot_declined"
    BOT_STALLED = "bot_stalled"
    BOT_TIMEOUT = "bot_timeout"
    PERSON_UNAVAILABLE = "person_unavailable"
    ENGINE_ERROR = "engine_error"


@dataclass(frozen=True, slots=True)
class TurnResult:
    """How a turn ended.

    `state` is JSON text, present exactly for `next`, `done` and `calls`; with the last, `calls` are in the order asked
    for, and of one agent. `usage` is of all model calls of the turn, also the
    failed and invisible ones. `reason` is a short phrase (why the team stopped). `failure` is set for `failed`;
    `detail` is for the log only and never reaches a client. `model_calls` are what `usage` is made of, in order, as far
    as the engine knows.
    """

    outcome: Outcome
    usage: Usage
    state: str | None = None
    reason: str | None = None
    failure: Failure | None = None
    detail: str | None = None
    calls: tuple[AskedCall, ...] = ()
    model_calls: tuple[ModelCall, ...] = ()


class Engine(Protocol):
    """Makes agents talk, one turn at a time.

    Obligations: `turn` calls `emit` in the order things happen and never again after it has returned; it returns (and
    never raises, save `asyncio.CancelledError` when cancelled itself) within `timeout_s` plus a grace of 5 s; when
    `stop` is set it ends within 2 s with `cancelled`; afterwards no task of it is alive. It keeps nothing between calls
    that the state does not hold, and may be called for many sessions at once. It calls safe tools itself and no others:
    for those it ends the turn with `calls`, after everything before them was told. Calls of models and tools are
    counted in the request's allowance before they are made; when that refuses, the turn fails with `budget_exceeded`.
    """

    async def turn(self, request: TurnRequest, emit: Emit, stop: asyncio.Event) -> TurnResult: ...
