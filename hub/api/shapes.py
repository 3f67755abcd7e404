"""Types that several routes share: pages, cursors, ids in paths, text in bodies."""

from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from hub.protocol.events import Wire
from hub.protocol.text import Storable

T = TypeVar("T")

NO_NUL = r"^[^\x00]*$"
"""Documents what `hub.protocol.text` checks: PostgreSQL cannot hold NUL."""

Documented = Field(json_schema_extra={"pattern": NO_NUL})


class Body(BaseModel):
    """A request body: fields that are not known are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Wire, Generic[T]):
    """One page of a list; `next` is the cursor of the following one, null at the end."""

    items: list[T]
    next: str | None = None


Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    Storable | None,
    Query(max_length=512, description="The `next` of the page before.", json_schema_extra={"pattern": NO_NUL}),
]
SessionPath = Annotated[str, Path(alias="id", description="The session's id.")]
