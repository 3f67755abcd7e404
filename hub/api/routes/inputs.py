"""What runs ask people, and answering without a socket."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Body, Cursor, Limit, Page, SessionPath
from hub.domain.calls import Decision
from hub.protocol.results import InputResult, SeqResult, input_result
from hub.protocol.text import MessageText


class AnswerBody(Body):
    """As the command `input.respond`: a `decision` for an approval or a retry, a `text` for a question."""

    decision: Decision | None = None
    text: Annotated[MessageText, Field(json_schema_extra={"pattern": NO_NUL})] | None = None
    arguments_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


async def page(
    session: SessionPath, caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None
) -> Page[InputResult]:
    """What waits for a person's answer in a session, oldest first."""
    requests, following = await wired.inputs.page(caller, session, limit=limit, cursor=cursor)
    return Page(items=[input_result(request, yeses) for request, yeses in requests], next=following)


async def respond(
    session: SessionPath,
    request: Annotated[str, Path(description="The request's id.")],
    body: AnswerBody,
    caller: Caller,
    wired: Wired,
) -> SeqResult:
    """Answer a request; once this answers, the decision is durable. The same answer again gives the same result."""
    return await wired.inputs.respond(
        caller,
        session,
        request,
        decision=body.decision,
        text=body.text,
        arguments_sha256=body.arguments_sha256,
    )


def router() -> APIRouter:
    """`/v1/sessions/{id}/inputs`."""
    routes = APIRouter(prefix="/v1/sessions/{id}/inputs", tags=["runs"])
    routes.add_api_route("", page, methods=["GET"], responses=problems(400, 401, 403, 404))
    routes.add_api_route("/{request}", respond, methods=["POST"], responses=problems(400, 401, 403, 404, 409, 413))
    return routes
