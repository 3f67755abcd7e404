"""The log of a session: durable events with a `seq` 1, 2, 3 … given in the transaction that inserts them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from hub.domain.errors import NotFound
from hub.domain.ids import RunId, SessionId
from hub.domain.run import Lease
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.store.database import Db
from hub.store.transaction import Row

# Where a statement that writes events begins. The UPDATE takes the lock of the session's row, which orders the writers
# of one session; the clock is read under it, so times grow with seq.
_PLACED = """
    position AS (
        UPDATE sessions SET last_seq = last_seq + :n, updated_at = clock_timestamp()
        WHERE id = CAST(:session AS uuid) AND {who}
        RETURNING last_seq - :n AS before, updated_at AS ts),
    logged AS (
        INSERT INTO events (session_id, seq, type, run_id, ts, data)
        SELECT CAST(:session AS uuid), before + e.ordinality, e.type, e.run, ts, CAST(e.data AS json)
        FROM position, unnest(CAST(:types AS text[]), CAST(:runs AS uuid[]), CAST(:data AS text[]))
            WITH ORDINALITY AS e(type, run, data))
"""
POSITION = _PLACED.format(who="deleted_at IS NULL")

_APPEND = text(f"WITH {POSITION} SELECT before, ts FROM position")

# The same under a lease. Locking a row makes PostgreSQL look at its newest version, not at the statement's snapshot,
# and keeps the lease from being granted anew before this transaction ends. `held` reads `place`: the session is locked
# first. Whatever else such a statement writes, it writes for what is in `held` or `position`, hence not at all without
# the lease: it may be a transaction of its own.
_PLACE = """
    place AS (
        SELECT id, org_id, last_seq FROM sessions WHERE id = CAST(:session AS uuid) AND deleted_at IS NULL
        FOR NO KEY UPDATE)
"""
# Of a run that is known by its id. As long as PostgreSQL has no statistics, the indexes of all runs that are under way
# look as good to it as that of the ids; none of them is for this.
RUNNING = "lower({run}.status) = 'running'"

_HELD = f"""
    SELECT r.id, r.session_id, r.requested_by, place.org_id FROM place, runs r
    WHERE r.id = CAST(:run AS uuid) AND r.session_id = place.id AND r.lease_epoch = :epoch AND {RUNNING.format(run="r")}
      AND {{also}}
    FOR NO KEY UPDATE OF r
"""


def fenced(also: str = "true") -> str:
    """`POSITION` under a lease, for which `also` must be true. What follows reads from `FENCED_POSITION`."""
    return fenced_by(_HELD.format(also=also))


def fenced_by(held: str) -> str:
    """The same where `held` is the statement that reads `place`, locks the run, or writes it, and gives its `id`,
    `session_id`, `requested_by` and `org_id`."""
    return f"{_PLACE}, held AS ({held}), {_PLACED.format(who='EXISTS (SELECT FROM held)')}"


FENCED_POSITION = """
    (SELECT EXISTS (SELECT FROM place) AS there) AS found LEFT JOIN position ON true
"""
"""One row: whether there is such a session, and `position`, whose `before` is null when nothing was written."""

_APPEND_FENCED = text(f"WITH {fenced()} SELECT there, before, ts FROM {FENCED_POSITION}")

_READ = text("""
    SELECT seq, type, run_id::text, ts, data::text FROM events
    WHERE session_id = CAST(:session AS uuid) AND seq > :after
    ORDER BY seq LIMIT :limit
""")

_LAST_SEQ = text("SELECT last_seq FROM sessions WHERE id = CAST(:session AS uuid) AND deleted_at IS NULL")

# Workers ask it every two seconds of all that they serve, and nearly always the answer is none.
_AHEAD = text("""
    SELECT s.id::text, s.last_seq
    FROM unnest(CAST(:sessions AS uuid[]), CAST(:seqs AS bigint[])) AS known (id, seq)
    JOIN sessions s ON s.id = known.id AND s.last_seq > known.seq AND s.deleted_at IS NULL
""")


class LeaseLost(Exception):
    """The lease is not the newest of its run, or the run is not running any more: its holder must stop and write
    nothing. The transaction is rolled back."""


async def append(
    db: Db, session: SessionId, events: Sequence[NewEvent], *, lease: Lease | None = None
) -> list[LoggedEvent]:
    """Put events at the end of the log. They are in it once the transaction is committed; publish them after that.

    Raises `NotFound` when the session does not exist or is deleted, and `LeaseLost` when `lease` is given and old.
    """
    values = values_of(session, events)
    if lease is not None:
        row = (await db.execute(_APPEND_FENCED, {**values, **held_by(lease)})).one()
        await check(db, row)
    elif (row_or_none := (await db.execute(_APPEND, values)).one_or_none()) is not None:
        row = row_or_none
    else:
        raise NotFound("no such session")
    return logged(session, events, values["data"], row)


async def check(db: Db, row: Row) -> None:
    """Raises `NotFound` or `LeaseLost`, by a row of `FENCED_POSITION`, when nothing was written."""
    if row.before is None:
        await db.rollback()  # also for a caller that would catch the error inside its transaction
        if not row.there:
            raise NotFound("no such session")
        raise LeaseLost


def held_by(lease: Lease) -> dict[str, Any]:
    """What `fenced` needs beside what `POSITION` needs."""
    return {"run": lease.run, "epoch": lease.epoch}


def values_of(session: SessionId, events: Sequence[NewEvent]) -> dict[str, Any]:
    """What `POSITION` needs."""
    return {
        "session": session,
        "n": len(events),
        "types": [event.data.TYPE for event in events],
        "runs": [event.run for event in events],
        "data": [event.data.model_dump_json() for event in events],
    }


def logged(session: SessionId, events: Sequence[NewEvent], data: Sequence[str], position: Row) -> list[LoggedEvent]:
    """The events as `POSITION` put them into the log: after seq `position.before`, at `position.ts`."""
    return [
        LoggedEvent(session, position.before + number, event.data.TYPE, event.run, position.ts, event_data)
        for number, (event, event_data) in enumerate(zip(events, data, strict=True), start=1)
    ]


async def read(db: Db, session: SessionId, *, after: int, limit: int) -> list[LoggedEvent]:
    """Up to `limit` events with a seq above `after`, in order, byte for byte as they were appended."""
    rows = await db.execute(_READ, {"session": session, "after": after, "limit": limit})
    return [
        LoggedEvent(session, row.seq, row.type, RunId(row.run_id) if row.run_id else None, row.ts, row.data)
        for row in rows
    ]


async def ahead(db: Db, known: Mapping[SessionId, int]) -> dict[SessionId, int]:
    """Of these sessions, of which events up to a seq are known, those whose log goes further, and how far. Sessions
    that are unknown or deleted are missing."""
    rows = await db.execute(_AHEAD, {"sessions": list(known), "seqs": list(known.values())})
    return {SessionId(row.id): row.last_seq for row in rows}


async def last_seq(db: Db, session: SessionId) -> int | None:
    """The seq of the session's newest event (0: none yet), or None for a session unknown or deleted."""
    seq: int | None = (await db.execute(_LAST_SEQ, {"session": session})).scalar_one_or_none()
    return seq
