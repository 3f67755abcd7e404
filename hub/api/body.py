"""Bounds on what requests may send: the size of one, the time it takes, and what all together may leave unfinished."""

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.domain.errors import BadRequest, TooLarge, Unavailable

MAX_BODY_BYTES = 262_144
BODY_TIMEOUT_S = 15.0
SMALL_BYTES = 16_384  # of each body: what people write is seldom more, and always gets in
MAX_WAITING_BYTES = 67_108_864  # beyond that, of all bodies of a worker of which a part has come

_UPLOAD = re.compile(r"/v1/sessions/[^/]+/attachments")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def is_upload(scope: Scope) -> bool:
    """Whether the body is an attachment: it is read as it comes, under its own bounds (`hub.sessions.attachments`)."""
    return scope["method"] == "POST" and _UPLOAD.fullmatch(scope["path"]) is not None


class BodyLimit:
    """Reads the whole body before anything else looks at the request: what is too large or too slow never gets in.

    Who sends it may be anybody, and many bodies that do not come to their end would have a worker hold as much as
    somebody likes: so large ones are refused when all that wait for their end hold `max_waiting` bytes."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int = MAX_BODY_BYTES,
        timeout_s: float = BODY_TIMEOUT_S,
        max_waiting: int = MAX_WAITING_BYTES,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._waiting = 0

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
        body, counted = bytearray(), 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > self._max_bytes:
                    raise self._too_large()
                if not message.get("more_body", False):
                    return bytes(body)
                more = max(0, len(body) - SMALL_BYTES) - counted
                if more and self._waiting + more > self._max_waiting:
                    raise Unavailable("too many large bodies are under way", retry_after=1)
                counted += more
                self._waiting += more
        finally:
            self._waiting -= counted

    def _too_large(self) -> TooLarge:
        return TooLarge("the body is too large", details={"max_bytes": self._max_bytes})


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
