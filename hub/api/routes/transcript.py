"""Taking a conversation away: JSON, one message a line, or Markdown."""

from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Annotated, Any, assert_never

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import SessionPath
from hub.protocol.pieces import Wire
from hub.protocol.results import TranscriptMessage
from hub.sessions.access import session_id


class Format(StrEnum):
    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"


MEDIA_TYPES = {Format.JSON: "application/json", Format.JSONL: "application/jsonl", Format.MARKDOWN: "text/markdown"}


class Transcript(Wire):
    """`session` is the session's id."""

    session: str
    messages: list[TranscriptMessage]


async def transcript(
    session: SessionPath,
    caller: Caller,
    wired: Wired,
    form: Annotated[Format, Query(alias="format", description="How to write it.")] = Format.JSON,
) -> Response:
    """Everything that was said, oldest first, each message once."""
    pages = wired.history.transcript(caller, session)
    # Refused before the answer begins, while there still is a status code to say so.
    first, second = await anext(pages), await anext(pages, None)
    id_ = session_id(session)
    head = {"cache-control": "no-store"}
    if second is None:
        whole = _opening(form, id_) + _page(form, first) + _ending(form)
        return Response(whole, media_type=MEDIA_TYPES[form], headers=head)
    body = _streamed(form, id_, first, second, pages)
    return StreamingResponse(body, media_type=MEDIA_TYPES[form], headers=head)


async def _streamed(
    form: Format,
    session: str,
    first: list[TranscriptMessage],
    second: list[TranscriptMessage],
    more: AsyncGenerator[list[TranscriptMessage]],
) -> AsyncGenerator[str]:
    between = "," if form is Format.JSON else ""
    yield _opening(form, session) + _page(form, first)
    yield between + _page(form, second)
    async for page in more:
        yield between + _page(form, page)
    yield _ending(form)


def _opening(form: Format, session: str) -> str:
    return f'{{"session":"{session}","messages":[' if form is Format.JSON else ""


def _ending(form: Format) -> str:
    return "]}" if form is Format.JSON else ""


def _page(form: Format, messages: list[TranscriptMessage]) -> str:
    match form:
        case Format.JSON:
            return ",".join(message.model_dump_json() for message in messages)
        case Format.JSONL:
            return "".join(f"{message.model_dump_json()}\n" for message in messages)
        case Format.MARKDOWN:
            return "".join(map(_in_markdown, messages))
        case _:
            assert_never(form)


def _in_markdown(message: TranscriptMessage) -> str:
    author = message.author.get("display_name") or message.author.get("name") or "?"
    note = "" if message.status == "complete" else f" ({message.status})"
    attached = "".join(
        f"- {_heading(part['name'])} ({part['media_type']}, {part['size']:,} bytes)\n\n"
        for part in message.parts or ()
        if part["type"] == "attachment"
    )
    return f"## {_heading(str(author))}{note}\n\n_{message.created_at}_\n\n{message.text}\n\n{attached}"


def _heading(name: str) -> str:
    # A name is one line of plain text, whatever characters it has.
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>&" else c for c in " ".join(name.split()))


def router() -> APIRouter:
    """`/v1/sessions/{id}/transcript`."""
    routes = APIRouter(tags=["sessions"])
    answer: dict[int | str, dict[str, Any]] = {
        200: {
            "model": Transcript,
            "content": {
                MEDIA_TYPES[Format.JSONL]: {"schema": {"type": "string"}},
                MEDIA_TYPES[Format.MARKDOWN]: {"schema": {"type": "string"}},
            },
        }
    }
    routes.add_api_route(
        "/v1/sessions/{id}/transcript",
        transcript,
        methods=["GET"],
        responses=answer | problems(400, 401, 403, 404),
    )
    return routes
