"""Types that several routes share: pages, cursors, ids in paths, text in bodies."""

from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict

from hub.protocol.events import Wire

T = TypeVar("T")

NO_NUL = r"^[^\x00]*$"
"""Documents what `hub.protocol.text` checks: PostgreSQL cannot hold NUL."""


class Body(BaseModel):
    """A request body: fields that are not known are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Wire, Generic[T]):
    """One page of a list; `next` is the cursor of the following one, null at the end."""

    items: list[T]
    next: str | None = None


Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=512, pattern="^[A-Za-z0-9_-]+$", description="The `next` of the page before."),
]
SessionPath = Annotated[str, Path(alias="id", description="The session's id.")]
