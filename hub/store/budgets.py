"""Limits that were set for one session, user or organisation, and what is used of budgets.

What is used is the sum of what was put down: nothing else knows it, so it is the same for every worker, and after any
crash.
"""

from collections.abc import Collection
from typing import Any, TypeAlias

from sqlalchemy import text

from hub.domain.budget import BudgetScope, Limit, Quantity
from hub.domain.ids import OrganisationId, RunId, SessionId, UserId
from hub.domain.usage import Spent
from hub.store import usage
from hub.store.database import Db

Subject: TypeAlias = SessionId | UserId | OrganisationId
"""Whom a limit is set for: limits of runs and of a session are the session's."""

_OF_RUN = text("""
    SELECT b.scope, b.quantity, b.amount FROM runs r JOIN sessions s ON s.id = r.session_id
    JOIN budgets b ON b.subject IN (r.session_id, r.requested_by, s.org_id)
    WHERE r.id = CAST(:run AS uuid)
""")

_OF_SUBJECT = text("SELECT scope, quantity, amount FROM budgets WHERE subject = CAST(:subject AS uuid)")

_SET = text("""
    INSERT INTO budgets (subject, scope, quantity, amount, set_by)
    VALUES (CAST(:subject AS uuid), :scope, :quantity, CAST(:amount AS bigint), CAST(:actor AS uuid))
    ON CONFLICT (subject, scope, quantity)
        DO UPDATE SET amount = excluded.amount, set_by = excluded.set_by, set_at = clock_timestamp()
""")

_UNSET = text("""
    DELETE FROM budgets WHERE subject = CAST(:subject AS uuid) AND scope = :scope AND quantity = :quantity
""")

# A scope that is not asked for reads nothing.
_TODAY = "date_trunc('day', clock_timestamp(), 'UTC')"
_USED = text(f"""
    WITH who AS (
        SELECT r.id, r.session_id, r.requested_by, s.org_id FROM runs r JOIN sessions s ON s.id = r.session_id
        WHERE r.id = CAST(:run AS uuid))
    SELECT 'run' AS scope, {usage.SUMS} FROM usage
        WHERE CAST(:of_run AS bool) AND run_id = (SELECT id FROM who)
    UNION ALL SELECT 'session', {usage.SUMS} FROM usage
        WHERE CAST(:of_session AS bool) AND session_id = (SELECT session_id FROM who)
    UNION ALL SELECT 'user', {usage.SUMS} FROM usage
        WHERE CAST(:of_user AS bool) AND user_id = (SELECT requested_by FROM who) AND created_at >= {_TODAY}
    UNION ALL SELECT 'organisation', {usage.SUMS} FROM usage
        WHERE CAST(:of_organisation AS bool) AND org_id = (SELECT org_id FROM who) AND created_at >= {_TODAY}
""")

_USED_BY = {
    BudgetScope.SESSION: text(f"SELECT {usage.SUMS} FROM usage WHERE session_id = CAST(:subject AS uuid)"),
    BudgetScope.USER: text(
        f"SELECT {usage.SUMS} FROM usage WHERE user_id = CAST(:subject AS uuid) AND created_at >= {_TODAY}"
    ),
    BudgetScope.ORGANISATION: text(
        f"SELECT {usage.SUMS} FROM usage WHERE org_id = CAST(:subject AS uuid) AND created_at >= {_TODAY}"
    ),
}


async def of_run(db: Db, run: RunId) -> list[Limit]:
    """Every limit that was set for whom this run concerns."""
    return [_limit_of(row) for row in await db.execute(_OF_RUN, {"run": run})]


async def of_subject(db: Db, subject: Subject) -> list[Limit]:
    """The limits that were set for a session, a user or an organisation."""
    return [_limit_of(row) for row in await db.execute(_OF_SUBJECT, {"subject": subject})]


async def put(db: Db, subject: Subject, limit: Limit, actor: UserId) -> None:
    """Set a limit, in place of the one that was set before."""
    values = {"scope": limit.scope.value, "quantity": limit.quantity.value, "amount": limit.amount, "actor": actor}
    await db.execute(_SET, {"subject": subject, **values})


async def remove(db: Db, subject: Subject, scope: BudgetScope, quantity: Quantity) -> None:
    """Take a limit back that was set: what others say holds again."""
    await db.execute(_UNSET, {"subject": subject, "scope": scope.value, "quantity": quantity.value})


async def used(db: Db, run: RunId, scopes: Collection[BudgetScope]) -> dict[BudgetScope, Spent]:
    """What is used in the scopes that this run counts in: those that were asked for."""
    values = {f"of_{scope.value}": scope in scopes for scope in BudgetScope}
    rows = await db.execute(_USED, {"run": run, **values})
    return {BudgetScope(row.scope): usage.spent_of(row) for row in rows if BudgetScope(row.scope) in scopes}


async def used_by(db: Db, subject: Subject, scope: BudgetScope) -> Spent:
    """What a session has used, or a user or an organisation today (UTC). KeyError for the scope of a run."""
    return usage.spent_of((await db.execute(_USED_BY[scope], {"subject": subject})).one())


def _limit_of(row: Any) -> Limit:
    return Limit(BudgetScope(row.scope), Quantity(row.quantity), row.amount)
