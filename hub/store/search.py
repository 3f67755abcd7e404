"""Full-text search over what was said."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from hub.domain.ids import MessageId, SessionId, UserId
from hub.store import pages
from hub.store.database import Db
from hub.store.messages import author_of
from hub.store.tables.sessions import WORDS

SNIPPET = 200  # characters
BEFORE = 60  # of them before the first word that is found

_OF_MESSAGE = WORDS.replace("(text)", "(m.text)")

# The snippets are made for the rows of the page only, for that reads the texts.
_SEARCH = text(f"""
    SELECT f.session_id::text, s.title, f.id::text, f.seq, f.author_kind, f.author_id, f.author_name, f.created_at,
           CASE WHEN at > 1 THEN '…' ELSE '' END || substr(f.text, at, {SNIPPET})
               || CASE WHEN length(f.text) >= at + {SNIPPET} THEN '…' ELSE '' END AS snippet
    FROM (
        SELECT m.*
        FROM hub_find_messages(CAST(:user AS uuid), :query, CAST(:time AS timestamptz), CAST(:id AS uuid),
                               CAST(:limit AS integer)) AS found (message)
        JOIN messages m ON m.id = message) AS f
    JOIN sessions s ON s.id = f.session_id
    CROSS JOIN LATERAL (
        SELECT greatest(coalesce(min(nullif(strpos(lower(left(f.text, 100000)), word), 0)), 1) - {BEFORE}, 1) AS at
        FROM unnest(tsvector_to_array(to_tsvector('simple', :query))) AS word) AS found
    ORDER BY f.created_at DESC, f.id DESC
""")


_IN_SESSION = text(f"""
    SELECT author_name, created_at, left(text, :characters) AS text
    FROM messages m
    WHERE m.session_id = CAST(:session AS uuid) AND m.voided_seq IS NULL
      AND {_OF_MESSAGE} @@ websearch_to_tsquery('simple', :query)
    ORDER BY m.created_at DESC, m.id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Hit:
    """A message in which the words were found; `author` as events have it, `snippet` plain text around them."""

    session: SessionId
    title: str
    message: MessageId
    seq: int
    author: dict[str, str]
    snippet: str
    created_at: datetime


async def search(
    db: Db, user: UserId, query: str, *, limit: int, cursor: str | None = None
) -> tuple[list[Hit], str | None]:
    """Messages that count, of sessions this user is a member of, in which the words are found; the newest first, and
    the cursor of the next page (None: no more). `query` is what people write into search boxes.

    Raises `BadRequest` for a cursor that this function did not give.
    """
    time, id_ = pages.parse_time_and_id(cursor) if cursor is not None else (None, None)
    values = {"user": user, "query": query, "time": time, "id": id_, "limit": limit + 1}
    hits = [
        Hit(
            session=SessionId(row.session_id),
            title=row.title,
            message=MessageId(row.id),
            seq=row.seq,
            author=author_of(row),
            snippet=row.snippet,
            created_at=row.created_at,
        )
        for row in await db.execute(_SEARCH, values)
    ]
    return pages.cut(hits, limit, lambda last: pages.time_and_id(last.created_at, last.message))


async def in_session(
    db: Db, session: SessionId, query: str, *, limit: int, characters: int
) -> list[tuple[str, datetime, str]]:
    """Messages of one session that count and in which the words are found, the newest first: author, time, and text up
    to so many characters."""
    values = {"session": session, "query": query, "limit": limit, "characters": characters}
    return [(row.author_name, row.created_at, row.text) for row in await db.execute(_IN_SESSION, values)]
