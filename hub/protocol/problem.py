"""Errors over HTTP: RFC 9457 problem details with the protocol's error codes, for REST and refused handshakes."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from hub.domain.errors import Code, HubError
from hub.protocol.pieces import Wire

PROBLEM_JSON = "application/problem+json"

STATUS: Mapping[Code, int] = {
    Code.BAD_REQUEST: 400,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.IDEMPOTENCY_CONFLICT: 409,
    Code.BUSY: 409,
    Code.RATE_LIMITED: 429,
    Code.TOO_LARGE: 413,
    Code.BUDGET_EXCEEDED: 402,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}

_TITLES: Mapping[Code, str] = {
    Code.BAD_REQUEST: "Bad request",
    Code.UNAUTHENTICATED: "Not authenticated",
    Code.FORBIDDEN: "Forbidden",
    Code.NOT_FOUND: "Not found",
    Code.CONFLICT: "Conflict",
    Code.IDEMPOTENCY_CONFLICT: "Idempotency key used with another body",
    Code.BUSY: "Busy",
    Code.RATE_LIMITED: "Too many requests",
    Code.TOO_LARGE: "Too large",
    Code.BUDGET_EXCEEDED: "Budget exceeded",
    Code.UNAVAILABLE: "Unavailable",
    Code.INTERNAL: "Internal error",
}


class Problem(Wire):
    """Why a request failed. `code`, `retryable`, `retry_after` (seconds) and `details` are those of a reply's error;
    `request` is the id under which the hub's log knows the request."""

    type: str
    title: str
    status: int
    detail: str
    code: Literal[
        "bad_request",
        "unauthenticated",
        "forbidden",
        "not_found",
        "conflict",
        "idempotency_conflict",
        "busy",
        "rate_limited",
        "too_large",
        "budget_exceeded",
        "unavailable",
        "internal",
    ]
    retryable: bool
    retry_after: float | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    request: str | None = None


def problem(error: HubError, *, status: int | None = None, request: str | None = None) -> Problem:
    """The body that tells about an error. `status` overrides the code's usual one (405 is a `bad_request`)."""
    return Problem(
        type=f"urn:agent-hub:error:{error.code.value}",
        title=_TITLES[error.code],
        status=status or STATUS[error.code],
        detail=error.message,
        code=error.code.value,
        retryable=error.retryable,
        retry_after=error.retry_after,
        details=error.details,
        request=request,
    )


def problem_headers(error: HubError) -> dict[str, str]:
    """The header fields that belong to the error: how to authenticate, when to come back."""
    headers = {"content-type": PROBLEM_JSON, "cache-control": "no-store"}
    if error.code is Code.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="agent-hub"'
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return headers
