"""Models behind an OpenAI-compatible address.

A client of its own, because AutoGen's costs 150 µs per token, loses tool calls that come together with text, takes a
stream that breaks off for an answer, and knows no deadline between two tokens.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx2
import orjson
from autogen_core.models import CreateResult, LLMMessage

from hub.engine.base import Failure
from hub.engine.models.client import StreamingClient, Tooling
from hub.engine.models.directed import Direction
from hub.engine.models.errors import ModelError
from hub.engine.models.openai_answer import Answer
from hub.engine.models.openai_request import chat_request, newer_half
from hub.engine.models.registry import HostedModel, ModelDeadlines

RETRIES = 3  # with their pauses they outlast the start of a local server
RETRY_AFTER_S = 0.5  # doubled with each retry; a server's own Retry-After is honoured instead
MAX_LINE_BYTES = 1_048_576
MAX_ERROR_BYTES = 65_536
DONE = b"[DONE]"

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_TOO_LONG = ("context_length", "context length", "context size", "exceed_context", "too many tokens", "too long")


def http_client(*, https: bool) -> httpx2.AsyncClient:
    """Connections to models, for a process and its event loop; to be closed by its owner.

    Plain http is for servers nearby: no certificates are loaded (that takes 0.1 s), no proxy is used.
    """
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(connect=5, write=10, pool=10, read=None),  # reading has the deadlines of each call
        limits=httpx2.Limits(max_connections=1_000, max_keepalive_connections=100),
        verify=https,
        trust_env=https,
    )


class OpenAiClient(StreamingClient):
    """A client for one model. Retries only before the first piece, within the deadline for it."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        model: HostedModel,
        deadlines: ModelDeadlines,
        direction: Direction | None = None,
    ) -> None:
        super().__init__(calls_tools=model.calls_tools)
        self._direction = direction
        self._http = http
        self._model = model
        self._deadlines = deadlines

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Tooling = (),
        extra_create_args: Mapping[str, Any] | None = None,
        **_options: Any,
    ) -> AsyncGenerator[str | CreateResult, None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadlines.first_s
        response = await self._open_fitting(messages, tools, extra_create_args or {}, deadline)
        try:
            answer = Answer(self._model.sentence_after)
            lines = _Lines(response)
            while not answer.enough:
                batch = await self._next(lines, deadline)
                if batch is None:
                    break
                for data in batch:
                    if data == DONE:
                        answer.done()
                        continue
                    for piece in answer.take(_json(data)):
                        yield piece
                        deadline = loop.time() + self._deadlines.idle_s
                    if answer.enough:
                        break
            for piece in answer.rest():
                yield piece
            yield answer.result()
        finally:
            await response.aclose()

    async def _open_fitting(
        self, messages: Sequence[LLMMessage], tools: Tooling, extra: Mapping[str, object], deadline: float
    ) -> httpx2.Response:
        """The response to as much of the conversation as the model has room for.

        Servers differ in that, and only tell when asked: what is too long is asked again without its older half. A
        session would otherwise come to a point from which on every run fails.
        """
        while True:
            body = orjson.dumps(chat_request(self._model, messages, tools, extra, self._direction))
            try:
                return await self._open(body, deadline)
            except ModelError as e:
                shorter = newer_half(messages)
                if e.failure is not Failure.CONTEXT_TOO_LONG or not shorter:
                    raise
                messages = shorter

    async def _open(self, body: bytes, deadline: float) -> httpx2.Response:
        """The response once the server has accepted the request."""
        loop = asyncio.get_running_loop()
        for attempt in range(RETRIES + 1):
            try:
                async with asyncio.timeout_at(deadline):
                    response = await self._http.send(self._request(body), stream=True)
                    if response.status_code == HTTPStatus.OK:
                        return response
                    error = await self._refusal(response)
            except TimeoutError:
                raise ModelError(Failure.MODEL_STALLED, "no answer to the request") from None
            except httpx2.HTTPError as e:
                error, response = ModelError(Failure.MODEL_UNAVAILABLE, repr(e)), None
            wait = _wait(response, attempt)
            if attempt == RETRIES or wait is None or loop.time() + wait >= deadline:
                raise error
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    def _request(self, body: bytes) -> httpx2.Request:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self._model.api_key:
            headers["Authorization"] = f"Bearer {self._model.api_key}"
        url = f"{self._model.base_url.rstrip('/')}/chat/completions"
        return self._http.build_request("POST", url, content=body, headers=headers)

    async def _refusal(self, response: httpx2.Response) -> ModelError:
        """What a status other than 200 means. The response is closed."""
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ERROR_BYTES:
                break
        await response.aclose()
        words = body.decode(errors="replace")
        if self._model.api_key:  # some servers repeat the key they refuse
            words = words.replace(self._model.api_key, "…")
        return ModelError(_meaning(response.status_code, words.lower()), f"HTTP {response.status_code}: {words[:500]}")

    async def _next(self, lines: "_Lines", deadline: float) -> list[bytes] | None:
        """The events of the next piece of the stream that has any, or None at its end."""
        try:
            async with asyncio.timeout_at(deadline):
                return await lines.next()
        except TimeoutError:
            raise ModelError(Failure.MODEL_STALLED, "no token in time") from None
        except httpx2.HTTPError as e:
            raise ModelError(Failure.MODEL_UNAVAILABLE, f"the connection broke: {e!r}") from e


class _Lines:
    """The `data:` lines of an event stream, in the batches in which they come from the network."""

    def __init__(self, response: httpx2.Response) -> None:
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._partial = b""

    async def next(self) -> list[bytes] | None:
        async for chunk in self._chunks:
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            if len(self._partial) > MAX_LINE_BYTES:
                raise ModelError(Failure.MALFORMED_OUTPUT, "a line of the stream is too long")
            if data := [line[5:].strip() for line in lines if line.startswith(b"data:")]:
                return data
        return None


def _json(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ModelError(Failure.MALFORMED_OUTPUT, f"an event is not JSON: {data[:200]!r}") from None


def _meaning(status: int, words: str) -> Failure:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failure.MODEL_RATE_LIMITED
    if status in (400, 413, 422):
        return Failure.CONTEXT_TOO_LONG if any(phrase in words for phrase in _TOO_LONG) else Failure.MODEL_REFUSED
    return Failure.MODEL_UNAVAILABLE  # wrong key, wrong address, or a fault of the server: no model to be had


def _wait(response: httpx2.Response | None, attempt: int) -> float | None:
    """Seconds until the next try, or None when there is no point in one."""
    if response is not None and response.status_code not in _RETRIED:
        return None
    told = response.headers.get("retry-after", "") if response is not None else ""
    if told.replace(".", "", 1).isdigit():
        return float(told)
    return RETRY_AFTER_S * 2.0**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
