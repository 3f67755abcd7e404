"""Tokens spent, turn by turn: the books that budgets and bills are made from."""

from sqlalchemy import text

from hub.domain.ids import RunId
from hub.domain.run import Usage
from hub.store.database import Db

# Who pays is who asked for the run.
_ADD = text("""
    INSERT INTO usage (session_id, run_id, user_id, turn, model, prompt_tokens, completion_tokens)
    SELECT session_id, id, requested_by, :turn, :model, :prompt_tokens, :completion_tokens
    FROM runs WHERE id = CAST(:run AS uuid)
""")


async def add(db: Db, *, run: RunId, turn: int, model: str, usage: Usage) -> None:
    """Book what an attempt at a turn has cost, for the user who asked for the run. `model` is its alias."""
    await db.execute(
        _ADD,
        {
            "run": run,
            "turn": turn,
            "model": model,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
    )
