"""Bounds on what a request may send: its size, and the time it takes."""

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.domain.errors import BadRequest, TooLarge

MAX_BODY_BYTES = 262_144
BODY_TIMEOUT_S = 15.0

_UPLOAD = re.compile(r"/v1/sessions/[^/]+/attachments")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def is_upload(scope: Scope) -> bool:
    """Whether the body is an attachment: it is read as it comes, under its own bounds (`hub.sessions.attachments`)."""
    return scope["method"] == "POST" and _UPLOAD.fullmatch(scope["path"]) is not None


class BodyLimit:
    """Reads the whole body before anything else looks at the request: what is too large or too slow never gets in."""

    def __init__(self, app: ASGIApp, *, max_bytes: int = MAX_BODY_BYTES, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY or is_upload(scope):
            await self._app(scope, receive, send)
            return
        if _declared_length(scope) > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(receive)
        except TimeoutError as e:
            raise BadRequest("the body did not arrive in time") from e
        if body is None:
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None when the caller hung up meanwhile."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> TooLarge:
        return TooLarge("the body is too large", details={"max_bytes": self._max_bytes})


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
