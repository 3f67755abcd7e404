"""uvicorn's HTTP protocol class with deadlines and caps: a request must arrive whole, soon, with modest headers, and
its answer must be read, before many more of them come.

uvicorn 0.54 waits for ever for the rest of a request, and for who reads its answer; it keeps header fields without
bound, also those that follow a chunked body, which it takes for the request's own, and requests that are sent ahead.
"""

import asyncio
from functools import partial
from typing import Protocol
from urllib.parse import unquote

from uvicorn._types import WebSocketScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hub.gateway.transport import HubWebSocket
from hub.gateway.upgrade import NoUpgrade, accept_key
from hub.protocol.http import BODY_TIME

MAX_HEADER_BYTES = 32_768  # before the body, and again after it
MAX_AHEAD = 32  # requests that wait for the answer to the one before them: each takes a hundred times its bytes

UPLOADS = "/attachments"  # where a body may be given more time
_GONE = "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Door(Protocol):
    """Where those come who ask for a WebSocket: the application, beside what it is for ASGI."""

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        """Lets the peer in, or refuses it, now or soon. `key` is the answer to its own. Never raises."""


class HubHttp(HttpToolsProtocol):
    """One peer's HTTP connection, up to its upgrade if it asks for one."""

    headers_s = 10.0
    body_s = 30.0
    unread_s = 30.0  # that an answer may stand still: each holds a piece of what it is made of
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _header_bytes: int | None = 0  # None while no header is awaited
    _read_bytes = 0  # of the piece that is being parsed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect_within(self.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._cancel_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_unread()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._read_bytes = len(data)
        super().data_received(data)
        if self._header_bytes is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse("431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._expect_within(self.headers_s)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_AHEAD:
            raise ValueError("too many requests were sent ahead")  # stops the parser, which has more of them
        self._header_bytes = None
        self._expect_within(self.body_s)
        super().on_headers_complete()
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        self.headers = []  # what comes after the body is no part of what the application was told
        if self.scope["path"].endswith(UPLOADS):
            self.scope.setdefault("extensions", {})[BODY_TIME] = {"within": partial(self._body_within, self.cycle)}

    def on_chunk_header(self) -> None:
        """After the last chunk, of which nothing tells that it is the last one, there may be header fields."""
        self._header_bytes = -self._read_bytes

    def on_body(self, body: bytes) -> None:
        self._header_bytes = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._header_bytes = None
        self._cancel_deadline()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the peer over. Nothing of ASGI is made for it: no task, no queue, no scope that lives on.

        Not while an answer is under way: what makes it would write into the WebSocket, and never hear of its end."""
        if self._is_answering:
            self.transport.close()
            return
        self._cancel_unread()
        self.connections.discard(self)
        peer = self.ws_protocol_class(self.transport, self.server_state)  # type: ignore[misc,call-arg]  # a HubWebSocket
        assert isinstance(peer, HubWebSocket)
        self.transport.set_protocol(peer)
        self.parser = None  # type: ignore[assignment]  # it and this object hold each other; the connection lives on
        door: Door = self.config.app  # type: ignore[assignment]  # what uvicorn was given, without what it wraps it in
        try:
            key = accept_key(self.scope["method"].encode(), self.url, self.headers)
        except NoUpgrade as refused:
            peer.refuse(refused.answer)
        else:
            door.arrive(self._request(), key, peer)

    def send_400_response(self, msg: str) -> None:
        if self._is_answering:  # the peer would take it for a part of that
            self.transport.close()
        else:
            super().send_400_response(msg)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _request(self) -> WebSocketScope:
        raw_path, _, query = self.url.partition(b"?")
        offered = [value.decode("latin-1") for name, value in self.headers if name == b"sec-websocket-protocol"]
        return {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if self.scheme == "https" else "ws",
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "subprotocols": [protocol.strip() for value in offered for protocol in value.split(",")],
            "state": {},
            "extensions": {},
        }

    def _body_within(self, cycle: RequestResponseCycle, seconds: float) -> None:
        """The rest of this request's body must arrive so soon, if there is any left."""
        if self._deadline is not None and self.cycle is cycle:
            self._expect_within(seconds)

    def _expect_within(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, self._refuse, "408 Request Timeout")

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, status: str) -> None:
        """End the connection; with an answer where no response is under way."""
        self._cancel_deadline()
        self._header_bytes = None
        if self.transport.is_closing():
            return
        if not self._is_answering:
            self.transport.write(_GONE.format(status=status).encode())
        self.transport.close()
