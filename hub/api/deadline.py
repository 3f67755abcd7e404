"""The time a request may take until its answer begins."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api.body import is_upload
from hub.domain.errors import Unavailable
from hub.sessions.attachments import UPLOAD_S

ANSWER_S = 4.0  # as for commands over WebSocket: whoever asks hears within 5 s
FORK_S = 10.0  # a fork copies a conversation; to try again would make another


class RequestDeadline:
    """Ends what takes too long with `Unavailable`: whether it was carried out is then unknown. An answer that has begun
    may take its time: streams have bounds of their own."""

    def __init__(self, app: ASGIApp, *, answer_s: float = ANSWER_S) -> None:
        self._app = app
        self._answer_s = answer_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer_s = self._answer_s
        if scope["method"] == "POST" and scope["path"].endswith("/fork"):
            answer_s = FORK_S
        elif is_upload(scope):
            answer_s += UPLOAD_S
        try:
            async with asyncio.timeout(answer_s) as deadline:

                async def begun(message: Message) -> None:
                    if not deadline.expired():
                        deadline.reschedule(None)
                    await send(message)

                await self._app(scope, receive, begun)
        except TimeoutError as e:
            if not deadline.expired():
                raise
            raise Unavailable("the hub did not answer in time", retry_after=1) from e
