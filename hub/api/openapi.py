"""The OpenAPI document: complete enough to generate clients and to be tested against."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from hub.protocol.problem import PROBLEM_JSON, Problem

_DESCRIPTIONS = {
    400: "The request is not valid.",
    401: "No credential, or one that does not hold.",
    402: "A budget is used up; `details` says which.",
    403: "The caller may not do this.",
    404: "There is no such thing, or the caller may not see it.",
    409: "It contradicts what is there.",
    413: "The body is too large.",
    429: "Too many requests; `Retry-After` says when to come back.",
    500: "A fault of the hub.",
    503: "Something the hub needs does not answer; the same call may succeed soon.",
}
_SOMETIMES = (429, 500, 503)  # any route may answer with these

# Stand in other answers, too.
_STANDING = {
    "RateLimit-Limit": {"schema": {"type": "string"}, "description": "Requests that may come at once."},
    "RateLimit-Remaining": {"schema": {"type": "string"}, "description": "How many may still come at once."},
    "RateLimit-Reset": {"schema": {"type": "string"}, "description": "Seconds until all of them may come again."},
    "RateLimit-Policy": {"schema": {"type": "string"}, "description": "Requests a minute; `w` in seconds, `burst`."},
}

_DESCRIPTION = """\
REST side of the hub: accounts, sessions, the log, transcripts, runs. Live conversations go over the WebSocket
`/v1/ws`, described in [/asyncapi.json](/asyncapi.json). Errors are problem+json (RFC 9457) with a stable `code`.
"""

_TAGS = [
    {"name": "identity", "description": "Accounts, tokens, tickets, API keys."},
    {"name": "sessions", "description": "Conversations: their log, members and transcript."},
    {"name": "organisations", "description": "Who belongs together, and whose sessions are whose."},
    {"name": "runs", "description": "Teams of agents and what they are doing."},
    {"name": "usage", "description": "What is used of models, what it costs, and what may be used."},
    {"name": "administration", "description": "For administrators: accounts and the audit trail."},
    {"name": "operation", "description": "For whoever runs the hub."},
]


# Where ids come from: a field of an answer → the operations below a path that take it as `id`.
_LINKS = (
    ("/v1/sessions", "id", "/v1/sessions/{id}"),
    ("/v1/sessions/{id}/messages", "run", "/v1/runs/{id}"),
    ("/v1/api-keys", "id", "/v1/api-keys/{id}"),
)


def operation_id(route: APIRoute) -> str:
    """A short name for generated clients: `sessions_create`, `runs_cancel`."""
    noun = route.endpoint.__module__.rpartition(".")[2]
    return f"{noun}_{route.name}"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its `responses`; 429, 500 and 503 are added."""
    return {status: _problem(status) for status in (*statuses, *_SOMETIMES)}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of this app, built anew."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
        contact={"name": "Whoever runs this hub"},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "This hub"}],
    )
    schemas = document["components"]["schemas"]
    # FastAPI documents its own 422, which the hub never sends: what is not valid is a 400 problem here.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["summary"] = re.split(r"[.;:](?=\s|$)| \(", operation["description"], maxsplit=1)[0]
    schemas["Problem"] = Problem.model_json_schema(mode="serialization")
    _link(document["paths"])
    return document


def _link(paths: dict[str, Any]) -> None:
    for source, field, target in _LINKS:
        paths[source]["post"]["responses"]["201"]["links"] = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {"id": f"$response.body#/{field}"},
            }
            for path, operations in paths.items()
            if path.startswith(target)
            for operation in operations.values()
        }


def _problem(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": _DESCRIPTIONS[status],
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to authenticate."}}
    if status == 429:
        answer["headers"] = dict(_STANDING)
    if status in (429, 503):
        answer.setdefault("headers", {})["Retry-After"] = {
            "schema": {"type": "string"},
            "description": "Seconds to wait, where that is known.",
        }
    return answer
