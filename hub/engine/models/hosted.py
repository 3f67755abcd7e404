"""Models behind an address, asked by a client of our own.

AutoGen's clients cost 150 µs per token and more, lose tool calls that come together with text, take a stream that
breaks off for an answer, and know no deadline between two tokens (docs/decisions/0005, 0010).
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx2
import orjson
from autogen_core.models import CreateResult, LLMMessage

from hub.engine.attached import Fetch
from hub.engine.base import Failure
from hub.engine.models.answer import malformed
from hub.engine.models.client import StreamingClient, Tooling
from hub.engine.models.connections import Connections
from hub.engine.models.conversation import newer_half, shown
from hub.engine.models.dialects import Asked, answer_of, ask, events_in
from hub.engine.models.directed import Direction
from hub.engine.models.errors import ModelError
from hub.engine.models.refusals import broken, hidden, refusal
from hub.engine.models.registry import HostedModel, ModelDeadlines

RETRY_AFTER_S = 0.5  # doubled with each retry; a server's own Retry-After is honoured instead
MAX_LINE_BYTES = 1_048_576
DONE = b"[DONE]"


class HostedClient(StreamingClient):
    """A client for one model. Tries again only before the first piece, within the deadline for it.

    A conversation that the model has no room for is sent again without its older half: servers differ in how much that
    is, and only tell when asked; a session would otherwise come to a point from which on every run fails.

    It is given the texts that messages name, which `fetch` gets, and shown the pictures if it sees.
    """

    def __init__(
        self,
        connections: Connections,
        model: HostedModel,
        deadlines: ModelDeadlines,
        direction: Direction | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        super().__init__(calls_tools=model.calls_tools, sees=model.sees, writes_json=model.writes_json)
        self._direction = direction
        self._fetch = fetch
        self._http = connections.to(model.base_url)
        self._model = model
        self._deadlines = model.deadlines or deadlines

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Tooling = (),
        json_output: object = None,
        extra_create_args: Mapping[str, Any] | None = None,
        **_options: Any,
    ) -> AsyncGenerator[str | CreateResult, None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadlines.first_s
        extra, tried, said = extra_create_args or {}, 0, False
        if self._fetch is not None:
            messages = await shown(messages, self._fetch, sees=self._model.sees)
        while True:
            asked = ask(self._model, messages, tools, extra, self._direction, as_json=bool(json_output))
            stream = _Stream(self._http, self._model, deadline, self._deadlines.idle_s)
            try:
                await stream.open(asked)
                while (pieces := await stream.next()) is not None:
                    for piece in pieces:
                        said = True
                        yield piece
                    if said:
                        stream.deadline = loop.time() + self._deadlines.idle_s
                yield stream.answer.result()
            except ModelError as e:
                if said:
                    raise
                if e.failure is Failure.CONTEXT_TOO_LONG and (shorter := newer_half(messages)):
                    messages, wait = shorter, 0.0
                else:
                    wait = _pause(e, tried)
                    tried += 1
                    if not e.again or tried > self._model.retries or loop.time() + wait >= deadline:
                        raise
            else:
                return
            finally:
                await stream.close()
            await asyncio.sleep(wait)


class _Stream:
    """One try: a request and what comes back. `deadline` is that of the next piece; parts of a tool call, which are no
    pieces, move it."""

    def __init__(self, http: httpx2.AsyncClient, model: HostedModel, deadline: float, idle_s: float) -> None:
        self._http = http
        self._model = model
        self._events = events_in(model)
        self._response: httpx2.Response | None = None
        self._lines: _Lines | None = None
        self._error: ModelError | None = None
        self.answer = answer_of(model)
        self.deadline = deadline
        self._idle_s = idle_s

    async def open(self, asked: Asked) -> None:
        """Send the request, and wait until it is accepted."""
        try:
            async with asyncio.timeout_at(self.deadline):
                self._response = await self._http.send(self._request(asked), stream=True)
                if self._response.status_code != HTTPStatus.OK:
                    raise await refusal(self._response, self._model.api_key)
        except TimeoutError:
            raise ModelError(Failure.MODEL_STALLED, "no answer to the request", "no answer in time") from None
        except httpx2.HTTPError as e:
            raise broken(e) from e
        self._lines = _Lines(self._response)

    async def next(self) -> list[str] | None:
        """The pieces of the next part of the stream that has any, or None at its end."""
        while self._lines is not None and self._error is None:
            lines = await self._read(self._lines)
            if lines is None:
                self._lines = None
                return self.answer.rest()
            size = self.answer.size
            if pieces := self._pieces(lines):
                return pieces
            if self.answer.size > size:
                self.deadline = asyncio.get_running_loop().time() + self._idle_s
        if self._error is not None:
            raise self._error
        return None

    def _pieces(self, lines: list[bytes]) -> list[str]:
        """What came before an error counts: it is shown."""
        pieces: list[str] = []
        try:
            for data in self._events(lines):
                if data == DONE:
                    self.answer.done()
                    continue
                pieces += self.answer.take(self._json(data))
                if self.answer.enough:
                    self._lines = None
                    break
        except ModelError as e:
            e.args = (hidden(str(e), self._model.api_key),)
            self._error = e
        return pieces

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()

    def _request(self, asked: Asked) -> httpx2.Request:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **asked.headers}
        return self._http.build_request("POST", asked.url, content=orjson.dumps(asked.body), headers=headers)

    async def _read(self, lines: "_Lines") -> list[bytes] | None:
        try:
            async with asyncio.timeout_at(self.deadline):
                return await lines.next()
        except TimeoutError:
            raise ModelError(Failure.MODEL_STALLED, "no token in time", "no token in time") from None
        except httpx2.HTTPError as e:
            raise broken(e) from e

    def _json(self, data: bytes) -> dict[str, object]:
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = self._mended(data.decode(errors="replace"))
        if not isinstance(event, dict):
            raise malformed("an event is not an object")
        return event

    def _mended(self, data: str) -> object:
        """Servers cut characters in two: what is no UTF-8 costs a character, and not the answer."""
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise malformed(f"an event is not JSON: {hidden(data[:200], self._model.api_key)!r}") from None


class _Lines:
    """The lines of a stream, in the batches in which they come from the network."""

    def __init__(self, response: httpx2.Response) -> None:
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._partial = b""

    async def next(self) -> list[bytes] | None:
        async for chunk in self._chunks:
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            if len(self._partial) > MAX_LINE_BYTES:
                raise malformed("a line of the stream is too long")
            if lines:
                return lines
        last, self._partial = self._partial, b""
        return [last] if last else None


def _pause(error: ModelError, tried: int) -> float:
    """Seconds until the next try."""
    if error.after_s is not None:
        return error.after_s
    return RETRY_AFTER_S * 2.0**tried * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
