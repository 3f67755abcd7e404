"""How a run ends, and how that is told."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hub.domain.budget import Reached
from hub.domain.ids import RunId
from hub.domain.run import ClaimedRun, MessageStatus, RunStatus, Usage
from hub.domain.usage import Spent
from hub.engine.allowance import Allowance
from hub.engine.base import Failure, Outcome, TurnResult
from hub.protocol.durable import BudgetReachedData, RunFinishedData
from hub.protocol.frames import NewEvent
from hub.protocol.pieces import ErrorData, UsageData
from hub.store.runs import FinishedRun

_FAILURES = {
    Failure.MODEL_UNAVAILABLE: "the model cannot be reached",
    Failure.MODEL_REFUSED: "the model refused the request",
    Failure.MODEL_STALLED: "the model stopped answering",
    Failure.MODEL_RATE_LIMITED: "the model's provider limits our requests",
    Failure.CONTEXT_TOO_LONG: "the conversation is too long for the model",
    Failure.MALFORMED_OUTPUT: "the model's answer could not be read",
    Failure.BOT_UNAVAILABLE: "no bot takes the turn",
    Failure.BOT_DECLINED: "the bot declined the turn",
    Failure.BOT_STALLED: "the bot stopped answering",
    Failure.BOT_TIMEOUT: "the bot took too long",
    Failure.PERSON_UNAVAILABLE: "nobody has taken the person's turn",
    Failure.BUDGET_EXCEEDED: "a budget is used up",
    Failure.ENGINE_ERROR: "the team failed",
}


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends. `message_status` is that of the words it leaves unfinished; `reached` is the budget that is used
    up."""

    status: RunStatus
    reason: str
    message_status: MessageStatus
    error: ErrorData | None = None
    reached: Reached | None = None


def end_of(
    result: TurnResult, stop_reason: str | None, allowance: Allowance, duration_ms: int, *, last: str | None
) -> End | None:
    """How the run ends with this turn, or None when it goes on. `last` is why it has no further turn, or None. A turn
    that failed when its allowance was used up, of time too, ends the run for that."""
    end = _end_of(result, stop_reason, last)
    if result.outcome is Outcome.TIMEOUT:
        allowance.reached = allowance.budgets.reached(Spent(duration_ms=duration_ms))
    if allowance.reached is not None and end is not None and end.status is RunStatus.FAILED:
        return replace(over_budget(), reached=allowance.reached)
    return end


def _end_of(result: TurnResult, stop_reason: str | None, last: str | None) -> End | None:
    match result.outcome:
        case Outcome.CALLS:
            return None
        case Outcome.NEXT:
            return End(RunStatus.COMPLETED, last, MessageStatus.COMPLETE) if last is not None else None
        case Outcome.DONE:
            return End(RunStatus.COMPLETED, result.reason or "done", MessageStatus.COMPLETE)
        case Outcome.CANCELLED:
            return stopped(stop_reason)
        case Outcome.TIMEOUT:
            return failed("turn_timeout", "the turn took too long")
        case Outcome.FAILED:
            failure = result.failure or Failure.ENGINE_ERROR
            return over_budget() if failure is Failure.BUDGET_EXCEEDED else failed(failure.value, _FAILURES[failure])


def stopped(reason: str | None) -> End:
    """The end of a run that was asked to stop."""
    return End(RunStatus.CANCELLED, reason or "cancelled", MessageStatus.INTERRUPTED)


def failed(code: str, message: str) -> End:
    """The end of a run that could not be carried out."""
    return End(RunStatus.FAILED, code, MessageStatus.FAILED, ErrorData(code=code, message=message))


def over_budget() -> End:
    """The end of a run whose budget is used up; what it was saying then is kept as cut off."""
    code = Failure.BUDGET_EXCEEDED
    error = ErrorData(code=code.value, message=_FAILURES[code])
    return End(RunStatus.FAILED, code.value, MessageStatus.INTERRUPTED, error)


def budget_event(run: RunId, reached: Reached) -> NewEvent:
    """What everybody is told of a budget that is used up."""
    limit = reached.limit
    unit = limit.quantity.per_unit
    data = BudgetReachedData(
        scope=limit.scope.value, quantity=limit.quantity.value, limit=limit.amount / unit, used=reached.used / unit
    )
    return NewEvent(data, run)


def finished_run(end: End, *, turns: int, usage: Usage) -> FinishedRun:
    """What the store is told."""
    error = end.error.model_dump_json() if end.error is not None else None
    return FinishedRun(end.status, end.reason, error, turns, usage)


def finished_event(run: ClaimedRun, end: End, *, turns: int, usage: Usage) -> NewEvent:
    """What everybody is told."""
    elapsed = datetime.now(UTC) - run.started_at
    data = RunFinishedData.model_validate(
        {
            "status": end.status.value,
            "reason": end.reason,
            "error": end.error,
            "usage": UsageData.of(usage),
            "input_seq": run.input_seq,
            "turns": turns,
            "duration_ms": max(0, round(elapsed.total_seconds() * 1000)),
        }
    )
    return NewEvent(data, run.lease.run)
