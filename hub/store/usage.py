"""What has been used, by whom: rows that are only ever added, and sums of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId, UserId
from hub.domain.run import TurnBooks
from hub.domain.usage import Spent
from hub.store.database import Db

# Who pays for the tokens is who asked for the run, which `{run}` gives. Values come from `values_of`.
BOOKED = """
    INSERT INTO usage (session_id, run_id, user_id, org_id, turn, model, agent, prompt_tokens, completion_tokens,
                       cost_micros, finish, error, turns, tool_calls, duration_ms)
    SELECT r.session_id, r.id, r.requested_by, r.org_id, CAST(:turn AS int), c.model, c.agent, c.prompt, c.completion,
           c.cost, c.finish, c.error, CASE c.n WHEN 1 THEN CAST(:booked_turns AS int) ELSE 0 END,
           CASE c.n WHEN 1 THEN CAST(:booked_tool_calls AS int) ELSE 0 END,
           CASE c.n WHEN 1 THEN CAST(:booked_ms AS bigint) ELSE 0 END
    FROM {run} AS r,
         unnest(CAST(:booked_models AS text[]), CAST(:booked_agents AS text[]), CAST(:booked_prompts AS int[]),
                CAST(:booked_completions AS int[]), CAST(:booked_costs AS bigint[]), CAST(:booked_finishes AS text[]),
                CAST(:booked_errors AS text[])) WITH ORDINALITY
             AS c(model, agent, prompt, completion, cost, finish, error, n)
"""
_RUN = """(SELECT r.id, r.session_id, r.requested_by, s.org_id FROM runs r JOIN sessions s ON s.id = r.session_id
           WHERE r.id = CAST(:run AS uuid))"""
_BOOK = text(BOOKED.format(run=_RUN))

# Sums of all columns that count something.
SUMS = """coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    coalesce(sum(cost_micros), 0)::bigint AS cost_micros, coalesce(sum(turns), 0)::bigint AS turns,
    coalesce(sum(tool_calls), 0)::bigint AS tool_calls, coalesce(sum(duration_ms), 0)::bigint AS duration_ms"""

_OF_SESSION = text(f"""
    SELECT model, count(*) AS calls, {SUMS} FROM usage
    WHERE session_id = CAST(:session AS uuid) GROUP BY model ORDER BY model
""")

_OF_USER = text(f"""
    SELECT model, count(*) AS calls, {SUMS} FROM usage
    WHERE user_id = CAST(:user AS uuid) AND created_at >= :since AND created_at < :until GROUP BY model ORDER BY model
""")


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What was used of the model with this alias, in so many calls."""

    model: str
    calls: int
    spent: Spent


async def book(db: Db, run: RunId, turn: int, books: TurnBooks) -> None:
    """Put down what a turn has cost, of which nothing else may be written."""
    await db.execute(_BOOK, {"run": run, "turn": turn, **values_of(books)})


async def of_session(db: Db, session: SessionId) -> list[ModelUsage]:
    """What a session has used, by model."""
    return [_usage_of(row) for row in await db.execute(_OF_SESSION, {"session": session})]


async def of_user(db: Db, user: UserId, *, since: datetime, until: datetime) -> list[ModelUsage]:
    """What the runs that a user has asked for have used, from `since` and before `until`, by model."""
    return [_usage_of(row) for row in await db.execute(_OF_USER, {"user": user, "since": since, "until": until})]


def values_of(books: TurnBooks) -> Mapping[str, Any]:
    """What `BOOKED` needs beside the turn."""
    calls = books.calls
    return {
        "booked_models": [call.model for call in calls],
        "booked_agents": [call.agent for call in calls],
        "booked_prompts": [call.usage.prompt_tokens for call in calls],
        "booked_completions": [call.usage.completion_tokens for call in calls],
        "booked_costs": [call.usage.cost_micros for call in calls],
        "booked_finishes": [call.finish for call in calls],
        "booked_errors": [call.error for call in calls],
        "booked_turns": books.turns,
        "booked_tool_calls": books.tool_calls,
        "booked_ms": books.duration_ms,
    }


def spent_of(row: Any) -> Spent:
    """The sums of a row."""
    return Spent(
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cost_micros=row.cost_micros,
        turns=row.turns,
        tool_calls=row.tool_calls,
        duration_ms=row.duration_ms,
    )


def _usage_of(row: Any) -> ModelUsage:
    return ModelUsage(row.model, row.calls, spent_of(row))
