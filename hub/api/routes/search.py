"""Full-text search over the caller's transcripts."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Cursor, Limit, Page
from hub.protocol.frames import timestamp
from hub.protocol.results import SearchHit
from hub.protocol.text import Storable

Words = Annotated[
    Storable,
    Query(
        min_length=1,
        max_length=500,
        description='Words that must all be there; `"…"` for a phrase, `or` between alternatives, `-` before a word '
        "that must not be there.",
    ),
    Field(json_schema_extra={"pattern": NO_NUL}),
]


async def search(q: Words, caller: Caller, wired: Wired, limit: Limit = 20, cursor: Cursor = None) -> Page[SearchHit]:
    """Messages of the caller's sessions in which the words are found, the newest first. `snippet` is plain text."""
    hits, following = await wired.history.search(caller, q, limit=limit, cursor=cursor)
    items = [
        SearchHit(
            session=hit.session,
            title=hit.title,
            message=hit.message,
            seq=hit.seq,
            author=dict(hit.author),
            snippet=hit.snippet,
            created_at=timestamp(hit.created_at),
        )
        for hit in hits
    ]
    return Page(items=items, next=following)


def router() -> APIRouter:
    """`/v1/search`."""
    routes = APIRouter(tags=["sessions"])
    routes.add_api_route("/v1/search", search, methods=["GET"], responses=problems(400, 401, 403))
    return routes
