"""The audit trail: who did what to what, from where. Never content, never a secret."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import UserId
from hub.store.database import Db

_ADD = text("""
    INSERT INTO audit (actor, action, object, address, detail)
    VALUES (CAST(:actor AS uuid), :action, :object, :address, CAST(:detail AS jsonb))
""")

_PAGE = text("""
    SELECT id, at, actor::text, action, object, address, detail::text FROM audit
    WHERE id > :after AND (CAST(:actor AS uuid) IS NULL OR actor = CAST(:actor AS uuid))
      AND (CAST(:object AS text) IS NULL OR object = CAST(:object AS text))
    ORDER BY id LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`id` grows with time; entries of transactions that overlap may become visible out of its order."""

    id: int
    at: datetime
    actor: str | None
    action: str
    object: str
    address: str | None
    detail: dict[str, Any]


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


async def page(
    db: Db, *, after: int, limit: int, actor: str | None = None, object: str | None = None
) -> list[AuditEntry]:
    """Entries with an id above `after`, oldest first: of one actor, about one object, or all."""
    rows = await db.execute(_PAGE, {"after": after, "limit": limit, "actor": actor, "object": object})
    return [
        AuditEntry(row.id, row.at, row.actor, row.action, row.object, row.address, json.loads(row.detail))
        for row in rows
    ]
