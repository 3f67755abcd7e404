"""Lists of any length, of which callers get a page at a time."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

PAGE = 200

T = TypeVar("T")


async def every(read: Callable[[int, str | None], Awaitable[tuple[list[T], str | None]]]) -> list[T]:
    """All there is. `read` gives a page of at most so many, and the cursor of the next one."""
    found, cursor = await read(PAGE, None)
    while cursor is not None:
        page, cursor = await read(PAGE, cursor)
        found += page
    return found
