"""Limits that were set, and what is used of them: whose they are, and since when it counts."""

import pytest
from sqlalchemy import text

from hub.domain.budget import BudgetScope, Limit, Quantity
from hub.domain.ids import OrganisationId, SessionId, UserId
from hub.domain.run import ModelCall, TurnBooks, Usage
from hub.domain.usage import Spent
from hub.store import budgets, leases, usage
from hub.store.budgets import Subject
from hub.store.database import Store
from tests.store.conftest import enqueue, make_lease, make_session

TOKENS = Quantity.TOKENS
BOOKS = TurnBooks([ModelCall("local", "alpha", Usage(3, 4, 5))], turns=1, tool_calls=2, duration_ms=6)
BOOKED = Spent(3, 4, 5, 1, 2, 6)


@pytest.mark.parametrize("whose", ["nobody", "session", "user", "organisation", "stranger"])
async def test_a_claim_tells_whether_there_are_limits(
    store: Store, session: SessionId, alice: UserId, bob: UserId, whose: str
) -> None:
    async with store.transaction() as db:
        org = (await db.execute(text("SELECT org_id::text FROM sessions"))).scalar_one()
        subjects: dict[str, tuple[Subject, BudgetScope]] = {
            "session": (session, BudgetScope.RUN),
            "user": (alice, BudgetScope.USER),
            "organisation": (OrganisationId(org), BudgetScope.ORGANISATION),
            "stranger": (bob, BudgetScope.USER),
        }
        if whose in subjects:
            subject, scope = subjects[whose]
            await budgets.put(db, subject, Limit(scope, TOKENS, 7), alice)
        run = await enqueue(db, session, alice, 1)
    async with store.transaction() as db:
        (claimed,) = await leases.claim(db, node="node", limit=1, lease_s=15)
        assert claimed.budgeted is (whose not in ("nobody", "stranger"))
        assert len(await budgets.of_run(db, run)) == claimed.budgeted


async def test_limits_are_set_and_taken_back(store: Store, session: SessionId, alice: UserId) -> None:
    async with store.transaction() as db:
        for amount in (1, 2):
            await budgets.put(db, session, Limit(BudgetScope.RUN, TOKENS, amount), alice)
        await budgets.put(db, session, Limit(BudgetScope.SESSION, TOKENS, 9), alice)
        assert set(await budgets.of_subject(db, session)) == {
            Limit(BudgetScope.RUN, TOKENS, 2), Limit(BudgetScope.SESSION, TOKENS, 9),
        }  # fmt: skip
        await budgets.remove(db, session, BudgetScope.RUN, TOKENS)
        await budgets.remove(db, session, BudgetScope.RUN, TOKENS)
        assert await budgets.of_subject(db, session) == [Limit(BudgetScope.SESSION, TOKENS, 9)]


async def test_what_is_used_counts_where_it_belongs(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        other = await make_session(db, alice)
    elsewhere = await make_lease(store, other, alice)
    async with store.transaction() as db:
        for run in (lease.run, lease.run, elsewhere.run):
            await usage.book(db, run, 1, BOOKS)
        await db.execute(  # one of the first run, of the day before
            text("""
                UPDATE usage SET created_at = created_at - interval '1 day'
                WHERE id = (SELECT min(id) FROM usage)
            """)
        )
        found = await budgets.used(db, lease.run, set(BudgetScope))
        assert found == {
            BudgetScope.RUN: BOOKED + BOOKED,
            BudgetScope.SESSION: BOOKED + BOOKED,
            BudgetScope.USER: BOOKED + BOOKED,
            BudgetScope.ORGANISATION: BOOKED + BOOKED,
        }
        assert await budgets.used(db, lease.run, {BudgetScope.RUN}) == {BudgetScope.RUN: BOOKED + BOOKED}
        assert await budgets.used_by(db, other, BudgetScope.SESSION) == BOOKED
        assert await budgets.used_by(db, alice, BudgetScope.USER) == BOOKED + BOOKED
        # It outlives the session.
        await db.execute(text("DELETE FROM sessions"))
        assert await budgets.used_by(db, alice, BudgetScope.USER) == BOOKED + BOOKED
