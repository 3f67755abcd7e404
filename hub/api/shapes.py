"""Types that several routes share: pages, cursors, ids in paths, text in bodies."""

import re
from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from hub.protocol.pieces import Wire

T = TypeVar("T")

NO_NUL = r"^[^\x00]*$"
"""Documents what `hub.protocol.text` checks: PostgreSQL cannot hold NUL."""


def _written_out(moment: object) -> object:
    if moment is not None and not (isinstance(moment, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]", moment)):
        raise ValueError("a time with its zone as in RFC 3339, such as 2026-01-31T12:00:00Z")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""A point in time; a bare number is none, for it says neither its unit nor its beginning."""

Flag = Annotated[bool, Field(strict=True)]
"""True or false, and nothing that could be taken for either."""


class Body(BaseModel):
    """A request body: fields that are not known are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Wire, Generic[T]):
    """One page of a list; `next` is the cursor of the following one, null at the end."""

    items: list[T]
    next: str | None = None


Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
AnyLimit = Annotated[int | None, Query(ge=1, le=200, description="How many at most; all of them without it.")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=512, pattern="^[A-Za-z0-9_-]+$", description="The `next` of the page before."),
]
SessionPath = Annotated[str, Path(alias="id", description="The session's id.")]
