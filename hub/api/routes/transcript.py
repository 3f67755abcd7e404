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
    # Refused before the answer begins, while there still is a status code to say so.
    found = await wired.sessions.get(caller, session)
    messages = wired.history.transcript(caller, found.id)
    match form:
        case Format.JSON:
            body = _json(found.id, messages)
        case Format.JSONL:
            body = _jsonl(messages)
        case Format.MARKDOWN:
            body = _markdown(messages)
        case _:
            assert_never(form)
    return StreamingResponse(body, media_type=MEDIA_TYPES[form], headers={"cache-control": "no-store"})


async def _json(session: str, messages: AsyncGenerator[TranscriptMessage]) -> AsyncGenerator[str]:
    yield f'{{"session":"{session}","messages":['
    separator = ""
    async for message in messages:
        yield separator + message.model_dump_json()
        separator = ","
    yield "]}"


async def _jsonl(messages: AsyncGenerator[TranscriptMessage]) -> AsyncGenerator[str]:
    async for message in messages:
        yield message.model_dump_json() + "\n"


async def _markdown(messages: AsyncGenerator[TranscriptMessage]) -> AsyncGenerator[str]:
    async for message in messages:
        author = message.author.get("display_name") or message.author.get("name") or "?"
        note = "" if message.status == "complete" else f" ({message.status})"
        yield f"## {_heading(str(author))}{note}\n\n_{message.created_at}_\n\n{message.text}\n\n"
        for part in message.parts or ():
            if part["type"] == "attachment":
                yield f"- {_heading(part['name'])} ({part['media_type']}, {part['size']:,} bytes)\n\n"


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
