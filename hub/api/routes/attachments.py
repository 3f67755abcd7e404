"""What messages have beside their words: uploads and downloads."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, SessionPath
from hub.domain.attachment import ALLOWED, TEXTS, Attachment
from hub.domain.errors import BadRequest, HubError
from hub.protocol.frames import timestamp
from hub.protocol.http import BODY_TIME
from hub.protocol.results import AttachmentResult
from hub.protocol.text import Storable
from hub.sessions.attachments import UPLOAD_S

CONTENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The content as it is; its beginning must be of the kind that `Content-Type` says.",
        "content": {kind: {} for kind in ALLOWED},  # bytes, which no schema is about
    }
}
REFUSED_S = 5.0  # for the rest of a body that was refused: so that whoever sends it sees the answer
# Whatever it is, a browser neither shows it as a page of ours nor runs what is in it.
SAFE = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-store",
}


async def upload(
    session: SessionPath,
    request: Request,
    caller: Caller,
    wired: Wired,
    name: Annotated[
        Annotated[Storable, Field(min_length=1, max_length=1_000, json_schema_extra={"pattern": NO_NUL})],
        Query(description="The file's name; folders in it are left out."),
    ],
) -> AttachmentResult:
    """Upload something that a message is to have: its part `{"type":"attachment","id":…}`. Pictures (PNG, JPEG, GIF,
    WebP), PDF and text are taken. What no message gets within a day is removed."""
    within = request.scope.get("extensions", {}).get(BODY_TIME, {}).get("within", _no_deadline)
    within(UPLOAD_S)  # a caller who may upload has longer than others
    try:
        kept = await wired.attachments.upload(
            caller,
            session,
            _body(request),
            name=name,
            media_type=request.headers.get("content-type"),
            size=_declared(request),
        )
    except HubError:
        within(REFUSED_S)
        raise
    return _result(kept)


async def get(
    session: SessionPath,
    attachment: Annotated[str, Path(description="The attachment's id.")],
    caller: Caller,
    wired: Wired,
) -> StreamingResponse:
    """The content, to be saved: it is never shown in place."""
    found = await wired.attachments.get(caller, session, attachment)
    kind = f"{found.media_type}; charset=utf-8" if found.media_type in TEXTS else found.media_type
    headers = SAFE | {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
        "content-length": str(found.size),
        "etag": f'"{found.sha256.hex()}"',
    }
    return StreamingResponse(wired.attachments.content(caller, found), media_type=kind, headers=headers)


async def discard(
    session: SessionPath,
    attachment: Annotated[str, Path(description="The attachment's id.")],
    caller: Caller,
    wired: Wired,
) -> None:
    """Remove what the caller has uploaded and no message has: it counts no more."""
    await wired.attachments.discard(caller, session, attachment)


def _no_deadline(_seconds: float) -> None:
    """Another server than ours has none."""


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect:
        raise BadRequest("the upload was cut off") from None


def _declared(request: Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else None


def _result(attachment: Attachment) -> AttachmentResult:
    return AttachmentResult(
        id=attachment.id,
        session=attachment.session,
        name=attachment.name,
        media_type=attachment.media_type,
        size=attachment.size,
        sha256=attachment.sha256.hex(),
        created_at=timestamp(attachment.created_at),
    )


def router() -> APIRouter:
    """`/v1/sessions/{id}/attachments`."""
    routes = APIRouter(prefix="/v1/sessions/{id}/attachments", tags=["sessions"])
    routes.add_api_route(
        "",
        upload,
        methods=["POST"],
        status_code=201,
        openapi_extra=CONTENT,
        responses=problems(400, 401, 403, 404, 409, 413),
    )
    answer: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in ALLOWED}}}
    routes.add_api_route(
        "/{attachment}",
        get,
        methods=["GET"],
        responses=answer | problems(401, 403, 404),
        response_class=StreamingResponse,
    )
    routes.add_api_route(
        "/{attachment}",
        discard,
        methods=["DELETE"],
        status_code=204,
        responses=problems(401, 403, 404, 409),
    )
    return routes
