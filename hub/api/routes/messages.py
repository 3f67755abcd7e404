"""Sending a message without a socket, and changing what was said."""

from typing import Annotated

from fastapi import APIRouter, Header, Path
from pydantic import Field

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Body, SessionPath
from hub.domain.errors import BadRequest
from hub.domain.ids import new_id
from hub.domain.session import OnBusy
from hub.protocol.commands import MessageSend, Part
from hub.protocol.results import SendResult, SeqRunResult
from hub.protocol.text import Key, MessageText, Name

DocumentedKey = Annotated[Key, Field(json_schema_extra={"pattern": NO_NUL})]

DocumentedText = Annotated[
    MessageText, Field(json_schema_extra={"pattern": NO_NUL, "examples": ["/script turns=1 tokens=3"]})
]
MessagePath = Annotated[str, Path(alias="message", description="The message's id.")]


class MessageBody(Body):
    """As the command `message.send`: `text` or `parts` is required. `client_id` is the idempotency key; without one
    (here or in the header `Idempotency-Key`) a repeated request is a second message."""

    text: DocumentedText | None = None
    parts: Annotated[list[Part], Field(min_length=1, max_length=32)] | None = None
    client_id: DocumentedKey | None = None
    to: Annotated[Name, Field(json_schema_extra={"pattern": NO_NUL})] | None = None
    on_busy: OnBusy | None = None


class EditBody(Body):
    """The text that stands in the message's place."""

    text: DocumentedText


async def send(
    session: SessionPath,
    body: MessageBody,
    caller: Caller,
    wired: Wired,
    idempotency_key: Annotated[DocumentedKey | None, Header(alias="Idempotency-Key")] = None,
) -> SendResult:
    """Say something; once this answers, the message (and the run it asked for) is durable."""
    if body.client_id is not None and idempotency_key not in (None, body.client_id):
        raise BadRequest("client_id and Idempotency-Key differ")
    # The command is the one place that knows what a message may hold.
    command = MessageSend(
        id="rest",
        session=session,
        client_id=body.client_id or idempotency_key or new_id(),
        text=body.text,
        parts=body.parts,
        to=body.to,
        on_busy=body.on_busy,
    )
    return await wired.messages.send(
        caller,
        session,
        text=command.full_text,
        parts=[part.model_dump() for part in command.parts or ()],
        client_id=command.client_id,
        to=command.to,
        on_busy=command.on_busy,
    )


async def edit(
    session: SessionPath, message: MessagePath, body: EditBody, caller: Caller, wired: Wired
) -> SeqRunResult:
    """Put another text in the place of the caller's own message: the conversation is cut there and goes on from it.

    `seq` is that of the new message. The same edit again gives the same answer.
    """
    return await wired.cutting.edit(caller, session, message, body.text)


async def regenerate(session: SessionPath, message: MessagePath, caller: Caller, wired: Wired) -> SeqRunResult:
    """Have the team answer again: everything after the user's message that `message` is or answers is cut."""
    return await wired.cutting.regenerate(caller, session, message)


def router() -> APIRouter:
    """`/v1/sessions/{id}/messages`."""
    routes = APIRouter(prefix="/v1/sessions/{id}/messages", tags=["sessions"])
    refused = problems(400, 401, 403, 404, 409, 413)
    routes.add_api_route("", send, methods=["POST"], status_code=201, responses=refused | problems(402))
    routes.add_api_route("/{message}", edit, methods=["PATCH"], responses=refused)
    routes.add_api_route("/{message}/regenerate", regenerate, methods=["POST"], status_code=201, responses=refused)
    return routes
