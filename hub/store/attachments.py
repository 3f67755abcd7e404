"""Attachments of sessions. Content is kept in pieces, so that neither an upload nor a download holds all of it, or a
transaction, for long."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from hub.domain.attachment import IMAGES, TEXTS, Attachment
from hub.domain.ids import AttachmentId, SessionId, UserId
from hub.store.database import Db

PIECE = 262_144  # bytes
PIECES_AT_ONCE = 16  # that a fork copies in a transaction

_COLUMNS = "id::text, session_id::text, user_id::text, name, media_type, size, sha256, created_at"
_IN_SESSION = "session_id = CAST(:session AS uuid)"
_ONE = f"{_IN_SESSION} AND id = CAST(:attachment AS uuid)"

# What is added for one user waits for each other, so that together it cannot be more than is left.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('attachments ' || CAST(:user AS text), 0))")

_USED = text(f"""
    SELECT coalesce(sum(size), 0)::bigint AS bytes, count(*) AS count FROM attachments WHERE {_IN_SESSION}
""")

_CHARGED = text("""
    SELECT coalesce(sum(size), 0)::bigint FROM attachments WHERE charged_to = CAST(:user AS uuid)
""")

_BEGIN = text("""
    INSERT INTO attachments (session_id, id, user_id, charged_to, name, media_type, size)
    VALUES (CAST(:session AS uuid), CAST(:attachment AS uuid), CAST(:user AS uuid), CAST(:user AS uuid), :name,
            :media_type, :size)
""")

_ADD = text("""
    INSERT INTO attachment_pieces (session_id, attachment_id, number, content)
    VALUES (CAST(:session AS uuid), CAST(:attachment AS uuid), :number, :content)
""")

_END = text(
    f"UPDATE attachments SET size = :size, sha256 = :sha256 WHERE {_ONE} AND sha256 IS NULL RETURNING {_COLUMNS}"
)

_GET = text(f"SELECT {_COLUMNS} FROM attachments WHERE {_ONE} AND sha256 IS NOT NULL")

# Of a text its first piece.
_CONTENTS = text("""
    SELECT a.id::text, a.media_type, string_agg(p.content, ''::bytea ORDER BY p.number) AS content
    FROM attachments a JOIN attachment_pieces p ON p.session_id = a.session_id AND p.attachment_id = a.id
    WHERE a.session_id = CAST(:session AS uuid) AND a.id = ANY (CAST(:attachments AS uuid[])) AND a.sent_at IS NOT NULL
      AND CASE WHEN a.media_type = ANY (CAST(:pictures AS text[])) THEN a.size <= :max_picture_bytes
               ELSE a.media_type = ANY (CAST(:texts AS text[])) AND p.number = 0 END
    GROUP BY a.id, a.media_type
""")

_PIECE = text(f"""
    SELECT content FROM attachment_pieces
    WHERE {_IN_SESSION} AND attachment_id = CAST(:attachment AS uuid) AND number = :number
""")

_DROP = (
    text(f"DELETE FROM attachment_pieces WHERE {_IN_SESSION} AND attachment_id = CAST(:attachment AS uuid)"),
    text(f"DELETE FROM attachments WHERE {_ONE}"),
)

# Whoever sends it at the same time comes before or after: both change the row.
_DISCARD = text(f"""
    WITH gone AS (
        DELETE FROM attachments
        WHERE {_ONE} AND user_id = CAST(:user AS uuid) AND sha256 IS NOT NULL AND sent_at IS NULL
        RETURNING session_id, id),
    content AS (
        DELETE FROM attachment_pieces p USING gone WHERE p.session_id = gone.session_id AND p.attachment_id = gone.id)
    SELECT count(*) FROM gone
""")

_SEND = text(f"""
    UPDATE attachments SET sent_at = coalesce(sent_at, clock_timestamp())
    WHERE {_IN_SESSION} AND id = ANY (CAST(:attachments AS uuid[])) AND user_id = CAST(:user AS uuid)
      AND sha256 IS NOT NULL
    RETURNING {_COLUMNS}
""")

# What the messages of a fork have; whoever forks is charged for the copies.
_FORK = text("""
    WITH named AS (
        SELECT DISTINCT CAST(part->>'id' AS uuid) AS id FROM messages m, jsonb_array_elements(m.parts) AS part
        WHERE m.session_id = CAST(:fork AS uuid) AND part->>'type' = 'attachment'),
    copied AS (
        INSERT INTO attachments (session_id, id, user_id, charged_to, name, media_type, size, sha256, created_at,
                                 sent_at)
        SELECT CAST(:fork AS uuid), a.id, a.user_id, CAST(:user AS uuid), a.name, a.media_type, a.size, a.sha256,
               a.created_at, a.sent_at
        FROM attachments a JOIN named n ON n.id = a.id
        WHERE a.session_id = CAST(:session AS uuid) AND a.sha256 IS NOT NULL
        RETURNING size)
    SELECT coalesce(sum(size), 0)::bigint AS bytes FROM copied
""")

_FORK_PIECES = text(f"""
    INSERT INTO attachment_pieces (session_id, attachment_id, number, content)
    SELECT CAST(:fork AS uuid), p.attachment_id, p.number, p.content FROM attachment_pieces p
    JOIN attachments a ON a.session_id = CAST(:fork AS uuid) AND a.id = p.attachment_id
    WHERE p.session_id = CAST(:session AS uuid) AND NOT EXISTS (
        SELECT FROM attachment_pieces c
        WHERE c.session_id = CAST(:fork AS uuid) AND c.attachment_id = p.attachment_id AND c.number = p.number)
    LIMIT {PIECES_AT_ONCE}
""")

_DESCRIBED = text(f"""
    SELECT {_COLUMNS} FROM attachments
    WHERE {_IN_SESSION} AND id = ANY (CAST(:attachments AS uuid[])) AND sent_at IS NOT NULL
""")

_ANY = text(f"SELECT EXISTS (SELECT FROM attachments WHERE {_IN_SESSION})")


async def used(db: Db, session: SessionId) -> tuple[int, int]:
    """Bytes and number of what the session has, unfinished uploads included."""
    row = (await db.execute(_USED, {"session": session})).one()
    return row.bytes, row.count


async def charged(db: Db, user: UserId) -> int:
    """Bytes that the user is charged for; nobody else counts or adds any until the end of the transaction."""
    await db.execute(_LOCK, {"user": user})
    found: int = (await db.execute(_CHARGED, {"user": user})).scalar_one()
    return found


async def begin(
    db: Db, session: SessionId, attachment: AttachmentId, user: UserId, *, name: str, media_type: str, size: int
) -> None:
    """An upload begins that may become `size` bytes long. Nobody sees it before its end."""
    values = {"session": session, "attachment": attachment, "user": user}
    await db.execute(_BEGIN, values | {"name": name, "media_type": media_type, "size": size})


async def add(db: Db, session: SessionId, attachment: AttachmentId, number: int, content: bytes) -> None:
    """The next piece, of `PIECE` bytes but for the last."""
    await db.execute(_ADD, {"session": session, "attachment": attachment, "number": number, "content": content})


async def end(db: Db, session: SessionId, attachment: AttachmentId, *, size: int, sha256: bytes) -> Attachment | None:
    """The upload is complete. None when it was given up meanwhile."""
    values = {"session": session, "attachment": attachment, "size": size, "sha256": sha256}
    row = (await db.execute(_END, values)).one_or_none()
    return _attachment(row) if row is not None else None


async def drop(db: Db, session: SessionId, attachment: AttachmentId) -> None:
    """Remove it, with its content."""
    for statement in _DROP:
        await db.execute(statement, {"session": session, "attachment": attachment})


async def discard(db: Db, session: SessionId, attachment: AttachmentId, user: UserId) -> bool:
    """Remove what the user has uploaded and no message has; whether there was such."""
    values = {"session": session, "attachment": attachment, "user": user}
    return bool((await db.execute(_DISCARD, values)).scalar_one())


async def get(db: Db, session: SessionId, attachment: AttachmentId) -> Attachment | None:
    """A complete attachment of the session."""
    row = (await db.execute(_GET, {"session": session, "attachment": attachment})).one_or_none()
    return _attachment(row) if row is not None else None


async def piece(db: Db, session: SessionId, attachment: AttachmentId, number: int) -> bytes | None:
    """One piece of the content; None after the last."""
    values = {"session": session, "attachment": attachment, "number": number}
    content: bytes | None = (await db.execute(_PIECE, values)).scalar_one_or_none()
    return content


async def send(
    db: Db, session: SessionId, attachments: Sequence[AttachmentId], user: UserId
) -> dict[AttachmentId, Attachment]:
    """A message of the user has these: those of them that are the user's own and complete."""
    values = {"session": session, "attachments": list(attachments), "user": user}
    found = [_attachment(row) for row in await db.execute(_SEND, values)]
    return {attachment.id: attachment for attachment in found}


async def described(db: Db, session: SessionId, wanted: Sequence[AttachmentId]) -> dict[AttachmentId, Attachment]:
    """Those of them that were sent in the session."""
    values = {"session": session, "attachments": list(wanted)}
    found = [_attachment(row) for row in await db.execute(_DESCRIBED, values)]
    return {attachment.id: attachment for attachment in found}


async def contents(
    db: Db, session: SessionId, wanted: Sequence[AttachmentId], *, max_picture_bytes: int
) -> list[tuple[AttachmentId, str, bytes]]:
    """Id, media type and content of those that were sent and are pictures not larger than this, or texts: of these the
    first piece."""
    values = {
        "session": session,
        "attachments": list(wanted),
        "pictures": list(IMAGES),
        "texts": list(TEXTS),
        "max_picture_bytes": max_picture_bytes,
    }
    return [(AttachmentId(row.id), row.media_type, row.content) for row in await db.execute(_CONTENTS, values)]


async def any_in(db: Db, session: SessionId) -> bool:
    """Whether the session has any."""
    found: bool = (await db.execute(_ANY, {"session": session})).scalar_one()
    return found


async def fork(db: Db, source: SessionId, fork: SessionId, user: UserId) -> int:
    """Copy those that the messages of the fork have, without their content; how many bytes that is."""
    size: int = (await db.execute(_FORK, {"session": source, "fork": fork, "user": user})).scalar_one()
    return size


async def fork_content(db: Db, source: SessionId, fork: SessionId) -> bool:
    """Copy some of their content; whether there may be more."""
    copied = (await db.execute(_FORK_PIECES, {"session": source, "fork": fork})).rowcount
    return copied == PIECES_AT_ONCE


def _attachment(row: Any) -> Attachment:
    return Attachment(
        id=AttachmentId(row.id),
        session=SessionId(row.session_id),
        user=UserId(row.user_id),
        name=row.name,
        media_type=row.media_type,
        size=row.size,
        sha256=row.sha256,
        created_at=row.created_at,
    )
