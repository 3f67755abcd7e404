"""MCP over streamable HTTP, with a bound on what a server may answer."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

MAX_ANSWER = 8 * 1024 * 1024  # bytes of an answer, or of one event in a stream of them


@asynccontextmanager
async def http_transport(url: str, headers: Mapping[str, str]) -> AsyncGenerator[TransportStreams]:
    """Speak to the server at this address."""
    https = url.startswith("https:")
    async with (
        httpx2.AsyncClient(
            transport=_Bounded(httpx2.AsyncHTTPTransport(verify=https, trust_env=https)),
            headers=dict(headers),
            timeout=httpx2.Timeout(connect=10, write=30, pool=10, read=None),  # each call has its own deadline
        ) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MAX_ANSWER) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncBaseTransport):
    """Ends answers that are longer than any that is taken. A stream of events may go on for ever."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if "text/event-stream" not in response.headers.get("content-type", ""):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER
        async for piece in self._inner:
            left -= len(piece)
            if left < 0:
                raise httpx2.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()
