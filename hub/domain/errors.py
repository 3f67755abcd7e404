"""What can go wrong, as codes that clients may rely on.

A `HubError` is translated at the two edges only (`gateway.dispatch` into a reply, `api.errors` into problem+json).
Its message is shown to clients: it never holds a path, a prompt, a secret or another person's data.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """Stable error codes of the protocol (docs/protocol.md, section 3)."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    BUSY = "busy"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    BUDGET_EXCEEDED = "budget_exceeded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class HubError(Exception):
    """An answer that is not a success. `retry_after` is in seconds."""

    code: ClassVar[Code] = Code.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.details = dict(details or {})


class BadRequest(HubError):
    code = Code.BAD_REQUEST


class Unauthenticated(HubError):
    code = Code.UNAUTHENTICATED


class Forbidden(HubError):
    code = Code.FORBIDDEN


class NotFound(HubError):
    """Also the answer for what the caller may not see: unknown and forbidden look the same."""

    code = Code.NOT_FOUND


class Conflict(HubError):
    code = Code.CONFLICT


class IdempotencyConflict(HubError):
    code = Code.IDEMPOTENCY_CONFLICT


class Busy(HubError):
    code = Code.BUSY
    retryable = True


class RateLimited(HubError):
    """It always says when to come again."""

    code = Code.RATE_LIMITED
    retryable = True

    def __init__(self, message: str, *, retry_after: float, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message, retry_after=retry_after, details=details)


class TooLarge(HubError):
    code = Code.TOO_LARGE


class BudgetExceeded(HubError):
    code = Code.BUDGET_EXCEEDED


class Unavailable(HubError):
    """Something the hub needs did not answer in time; the same call may succeed soon."""

    code = Code.UNAVAILABLE
    retryable = True


class Internal(HubError):
    """A fault of the hub itself; details are in its log under the correlation id."""
