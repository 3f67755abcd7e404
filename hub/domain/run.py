"""Runs: one execution of a team for one input, made of turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hub.domain.ids import MessageId, RunId, SessionId


class RunStatus(StrEnum):
    """`running`, `waiting` and `paused` are live: one run per session at most is in one of them."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


class MessageStatus(StrEnum):
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model's provider reported them, and what they cost, in millionths of the operator's currency."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micros: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost_micros + other.cost_micros,
        )


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model, also one that gave no answer. `model` is the alias of the one that was asked.

    `agent` is None for a question of the hub's own. `finish` is why the answer ended (`stop`, `length`,
    `function_calls`, `unknown`); without an answer it is None, and `error` says what happened, without anybody's words.
    """

    model: str
    agent: str | None
    usage: Usage
    finish: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TurnBooks:
    """What a turn, or its part up to calls, is put down as: its model calls, at least one; whether it is finished (1)
    or not (0); the calls of tools that it asked for; how long it took, in milliseconds."""

    calls: Sequence[ModelCall]
    turns: int = 0
    tool_calls: int = 0
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run as anybody who may see its session may see it."""

    id: RunId
    session: SessionId
    status: RunStatus
    team: str
    attempt: int
    input_seq: int
    turns: int
    usage: Usage
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a run.

    `epoch` grows with every grant in its session, across runs and workers; a write with an older epoch is refused
    by PostgreSQL and by Redis alike.
    """

    run: RunId
    session: SessionId
    epoch: int


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """What a runner gets when it claims a run. `attempt` is 1 for a fresh run and grows with every takeover.

    `turn` is the number of the turn to do next (0-based): turns before it are checkpointed.
    `input_message` is the message that asked for the run; `to` names the agent it was addressed to, if any.
    `stop_reason` is set when the run was asked to stop before it was claimed. `cut_off`: its last holder was lost in
    the middle of its work, and may have shown things that are not recorded. `budgeted`: limits were set for its
    session, its user or its organisation. `team_version` is that of an imported team; None for one of a file.
    """

    lease: Lease
    team: str
    attempt: int
    turn: int
    input_seq: int
    input_message: MessageId
    to: str | None
    usage: Usage
    started_at: datetime
    stop_reason: str | None = None
    cut_off: bool = False
    budgeted: bool = False
    team_version: int | None = None
