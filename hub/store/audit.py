"""The audit trail: who did what to what, from where. Never content, never a secret."""

import json
from collections.abc import Mapping

from sqlalchemy import text

from hub.domain.ids import UserId
from hub.store.database import Db

_ADD = text("""
    INSERT INTO audit (actor, action, object, address, detail)
    VALUES (CAST(:actor AS uuid), :action, :object, :address, CAST(:detail AS jsonb))
""")


async def add(
    db: Db,
    *,
    actor: UserId | None,
    action: str,
    object: str,
    address: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Note, in the transaction of what is done, that it was done. `actor` None: the hub itself or its operator.

    `action` is `noun.verb`, `object` is `noun:<id>`, `address` where the request came from.
    """
    await db.execute(
        _ADD,
        {
            "actor": actor,
            "action": action,
            "object": object,
            "address": address,
            "detail": json.dumps(dict(detail or {})),
        },
    )
