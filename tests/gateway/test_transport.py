"""The hardened protocol class against peers that misbehave, on real sockets."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

import pytest
from uvicorn._types import WebSocketScope

from hub.gateway.incoming import MAX_FRAGMENTS, End
from hub.gateway.text_frame import text_frame
from hub.gateway.transport import MAX_CONTROL_FRAMES, HubWebSocket
from hub.gateway.upgrade import refusal
from hub.protocol.close import Close
from tests.gateway.server import Raw, eventually, frame, let_in, serving

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
STALL_S = 1.0


class Peer:
    """What the application sees of one connection: it records all, and answers `echo …`."""

    def __init__(self, transport: HubWebSocket, app: "App") -> None:
        self.transport = transport
        self.app = app
        self.received: list[str | bytes | End] = []
        self.writable = 0
        self.full = False
        self.ended = asyncio.Event()

    def arrived(self) -> None:
        while self.app.reading and (message := self.transport.take()) is not None:
            self.received.append(message)
            if isinstance(message, End):
                self.ended.set()
            elif isinstance(message, str) and message.startswith("echo "):
                self.send(message[5:].encode())

    def hold(self) -> None:
        self.full = True

    def resume(self) -> None:
        self.writable += 1
        self.full = False

    def send(self, payload: bytes) -> bool:
        """Whether more may follow."""
        self.transport.transport.write(text_frame(payload))
        return not self.full

    def stalled(self) -> None:
        self.transport.end(Close.SLOW_CONSUMER, "slow consumer")

    @property
    def end_code(self) -> int | None:
        last = self.received[-1]
        return last.code if isinstance(last, End) else None


class App:
    """Lets everybody in."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.reading = True

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        del request
        let_in(key, peer)
        self.peers.append(Peer(peer, self))
        peer.open(self.peers[-1], stall_s=STALL_S)

    def read_on(self) -> None:
        self.reading = True
        for peer in self.peers:
            peer.arrived()

    @property
    def peer(self) -> Peer:
        return self.peers[-1]


class Brisk(HubWebSocket):
    goodbye_s = 1.0
    stalled_goodbye_s = 0.3


async def fill(peer: Peer) -> None:
    """Write until the transport takes no more."""
    while peer.send(b"x" * 60_000):  # noqa: ASYNC110 - the loop must turn for the kernel to be filled
        await asyncio.sleep(0)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def port(app: App) -> AsyncIterator[int]:
    async with serving(app, ws=Brisk) as port:
        yield port


class Patient(HubWebSocket):
    goodbye_s = 300.0


@pytest.fixture
async def patient(app: App) -> AsyncIterator[Raw]:
    """Of a server that gives a peer long to say goodbye."""
    async with serving(app, ws=Patient) as port:
        client = await Raw.open(port)
        await eventually(lambda: bool(app.peers))
        yield client
        await client.leave()


@pytest.fixture
async def raw(port: int, app: App) -> AsyncIterator[Raw]:
    client = await Raw.open(port)
    await eventually(lambda: bool(app.peers))
    yield client
    await client.leave()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
async def test_frames_of_every_length_class_come_back_whole(raw: Raw, app: App, size: int) -> None:
    raw.send(frame(b"echo " + b"x" * min(size, 65_000)))
    assert await raw.receive() == (TEXT, b"x" * min(size, 65_000))


async def test_a_frame_larger_than_16_bits_of_length_is_sent_in_one_piece(raw: Raw, app: App) -> None:
    app.peer.send(b"y" * 70_000)
    assert await raw.receive() == (TEXT, b"y" * 70_000)


async def test_a_message_in_fragments_is_joined(raw: Raw, app: App) -> None:
    raw.send(frame(b"echo ", fin=False) + frame(b"a", 0, fin=False) + frame(b"", PING) + frame(b"b", 0))
    assert await raw.receive() == (PONG, b"")
    assert await raw.receive() == (TEXT, b"ab")


async def test_too_many_fragments_are_refused(raw: Raw, app: App) -> None:
    raw.send(frame(b"a", fin=False) + frame(b"", 0, fin=False) * (MAX_FRAGMENTS + 1))
    assert await raw.close_code() == Close.POLICY
    await app.peer.ended.wait()
    assert app.peer.full


async def test_as_many_fragments_as_are_allowed_pass(raw: Raw, app: App) -> None:
    raw.send(frame(b"echo ", fin=False) + frame(b"a", 0, fin=False) * (MAX_FRAGMENTS - 2) + frame(b"z", 0))
    assert await raw.receive() == (TEXT, b"a" * (MAX_FRAGMENTS - 2) + b"z")


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_the_close_code_of_a_frame_that_is_too_large_arrives_although_more_is_coming(
    raw: Raw, app: App, opcode: int
) -> None:
    raw.send(frame(b"x" * 65_537, opcode) + frame(b"x" * 1_000_000, opcode))
    assert await raw.close_code() == Close.TOO_LARGE
    await app.peer.ended.wait()


async def test_the_close_code_of_a_violation_arrives_behind_what_was_sent_before(port: int, app: App) -> None:
    slow = await Raw.open(port, receive_buffer=4096)
    await eventually(lambda: bool(app.peers))
    for _ in range(5):
        app.peer.send(b"x" * 60_000)
    slow.send(frame(b"x" * 65_537) + frame(b"x" * 1_000_000))
    await app.peer.ended.wait()
    assert await slow.close_code() == Close.TOO_LARGE
    await slow.leave()


async def test_fragments_that_are_too_large_together_are_refused(raw: Raw) -> None:
    raw.send(frame(b"x" * 40_000, fin=False) + frame(b"x" * 40_000, 0))
    assert await raw.close_code() == Close.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (b"\x81\x05hello", 1002),  # not masked
        (bytes([0xC1, 0x80]) + bytes(4), 1002),  # a reserved bit
        (frame(b"", 3), 1002),  # a reserved opcode
        (frame(b"x" * 126, PING), 1002),  # a control frame that is too long
        (frame(b"", PING, fin=False), 1002),  # a control frame in fragments
        (frame(b"a", 0), 1002),  # a continuation of nothing
        (frame(b"a", fin=False) + frame(b"b"), 1002),  # a message within a message
        (frame(b"\x00", CLOSE), 1002),  # half a close code
    ],
)
async def test_violations_of_the_protocol_are_named(raw: Raw, app: App, data: bytes, code: int) -> None:
    raw.send(data)
    assert await raw.close_code() == code
    await app.peer.ended.wait()


async def test_a_flood_of_pings_ends(raw: Raw, app: App) -> None:
    raw.send(frame(b"", PING) * (MAX_CONTROL_FRAMES + 100))
    assert await raw.close_code() == Close.RATE_LIMITED
    await app.peer.ended.wait()


async def test_pongs_are_not_queued_for_a_peer_that_does_not_read(port: int, app: App) -> None:
    deaf = await Raw.open(port, receive_buffer=4096)
    await eventually(lambda: bool(app.peers))
    transport = app.peer.transport
    await fill(app.peer)
    before = transport.transport.get_write_buffer_size()
    deaf.send(frame(b"p" * 100, PING) * 50 + frame(b"after"))
    await eventually(lambda: "after" in app.peer.received)
    assert transport.transport.get_write_buffer_size() <= before
    await deaf.leave()


async def test_a_flood_of_messages_waits_in_the_kernel_while_the_application_is_busy(raw: Raw, app: App) -> None:
    app.reading = False
    for _ in range(50):
        raw.send(frame(b"x" * 20) * 2_000)
    await eventually(lambda: app.peer.transport.waiting > 0)
    for _ in range(100):  # as many passes of the loop as reading it all would take
        await asyncio.sleep(0)
    assert app.peer.transport.waiting < 1_000
    app.read_on()
    await eventually(lambda: len(app.peer.received) == 100_000, 30)


async def test_a_peer_that_takes_nothing_is_dropped_and_told_why(port: int, app: App) -> None:
    deaf = await Raw.open(port, receive_buffer=4096)
    await eventually(lambda: bool(app.peers))
    peer = app.peer
    began = asyncio.get_running_loop().time()
    await fill(peer)
    await asyncio.wait_for(peer.ended.wait(), 30)
    assert peer.end_code == Close.SLOW_CONSUMER
    assert asyncio.get_running_loop().time() - began >= STALL_S
    await eventually(lambda: peer.transport.disconnected)  # aborted: closing alone would wait for the peer
    await deaf.leave()


async def test_a_peer_that_reads_slowly_but_steadily_stays(port: int, app: App) -> None:
    slow = await Raw.open(port, receive_buffer=4096)
    await eventually(lambda: bool(app.peers))
    transport = app.peer.transport
    # So much that the kernel asks for more only when more than the peer takes in this test has gone.
    transport.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
    await fill(app.peer)
    waiting = transport.transport.get_write_buffer_size()
    deadline = asyncio.get_running_loop().time() + 2.5 * STALL_S
    while asyncio.get_running_loop().time() < deadline:
        async with asyncio.timeout(30):
            await slow.reader.read(128)
        await asyncio.sleep(0.01)  # the pace of this reader, not a wait for something
    assert transport.transport.get_write_buffer_size() == waiting  # the kernel has not asked for more all the time
    assert not app.peer.ended.is_set()
    async with asyncio.timeout(30):
        while not app.peer.writable:
            await slow.reader.read(65_536)
    assert app.peer.send(b"more")
    await slow.leave()


async def test_closing_arrives_behind_what_was_sent_before(patient: Raw, app: App) -> None:
    app.peer.send(b"last words")
    app.peer.transport.end(Close.DRAINING, "bye")
    assert app.peer.full
    app.peer.transport.end(Close.POLICY)  # the first code counts
    assert await patient.receive() == (TEXT, b"last words")
    assert await patient.receive() == (CLOSE, b"\x0f\xa0bye")
    patient.send(frame(b"\x0f\xa0", CLOSE))
    await patient.ended()  # at once, not after goodbye_s


async def test_a_peer_that_does_not_answer_the_close_frame_is_dropped(raw: Raw, app: App) -> None:
    app.peer.transport.end(Close.NORMAL)
    await eventually(lambda: app.peer.transport.disconnected)


async def test_the_close_frame_arrives_although_the_peer_is_still_sending(raw: Raw, app: App) -> None:
    raw.send(frame(b"x" * 60_000) * 30)
    app.peer.transport.end(Close.BAD_FRAMES)
    raw.send(frame(b"x" * 60_000) * 30)
    assert await raw.close_code() == Close.BAD_FRAMES


async def test_a_flood_stays_in_the_kernel_while_its_sender_is_sent_away(patient: Raw, app: App) -> None:
    app.reading = False
    sending = patient.writer.transport
    for _ in range(20):
        patient.send(frame(b"x" * 60_000) * 30)
    await eventually(lambda: app.peer.transport.waiting > 0)
    app.peer.transport.end(Close.RATE_LIMITED)
    unsent = sending.get_write_buffer_size()
    for _ in range(500):  # more passes of the loop than reading it all would take
        await asyncio.sleep(0)
    assert unsent - sending.get_write_buffer_size() < 8_388_608  # what buffers of the kernel may still grow by
    assert unsent > 16_777_216


async def test_a_close_frame_is_answered(raw: Raw, app: App) -> None:
    raw.send(frame((1000).to_bytes(2) + b"done", CLOSE))
    assert await raw.close_code() == 1000
    await app.peer.ended.wait()
    assert app.peer.full
    assert app.peer.end_code == 1000


async def test_a_ping_makes_a_peer_silent_until_anything_comes(raw: Raw, app: App) -> None:
    transport = app.peer.transport
    assert not transport.is_silent
    transport.ping()
    assert transport.is_silent
    assert await raw.receive() == (PING, b"")
    raw.send(frame(b"", PONG))
    await eventually(lambda: not transport.is_silent)


async def test_nothing_is_written_after_the_connection_is_lost(raw: Raw, app: App) -> None:
    transport = app.peer.transport
    await raw.leave()
    await eventually(lambda: transport.disconnected)
    assert app.peer.full
    transport.end(Close.NORMAL)
    transport.ping()


@pytest.mark.parametrize("header", ["X-Long: " + "x" * 9_000 + "\r\n", "".join(f"X-{i}: y\r\n" for i in range(200))])
async def test_headers_that_the_library_does_not_take_are_answered(port: int, header: str) -> None:
    client = await Raw.connect(port)
    assert await client.upgrade(headers=header) == 431
    await client.leave()


async def test_a_request_line_that_is_too_long_is_answered(port: int) -> None:
    client = await Raw.connect(port)
    assert await client.upgrade("/?ticket=" + "t" * 9_000) == 414
    await client.leave()


async def test_no_log_line_holds_the_query_string(port: int, app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = await Raw.open(port, "/?ticket=canary", "Authorization: Bearer canary\r\n")
    client.send(frame(b"echo x"))
    await client.receive()
    await client.leave()
    await eventually(lambda: app.peer.ended.is_set())
    assert "canary" not in caplog.text


async def test_a_refused_handshake_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    class Nobody(App):
        def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
            peer.refuse(refusal(401, body=b"no"))

    async with serving(Nobody()) as port:
        client = await Raw.connect(port)
        assert await client.upgrade() == 401
        assert await client.reader.read() == b"no"
        await client.leave()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_deflate_is_not_spoken(port: int) -> None:
    client = await Raw.connect(port)
    offered = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    assert await client.upgrade(headers=offered) == 101
    with contextlib.suppress(TimeoutError):
        client.send(bytes([0xC1, 0x80]) + bytes(4))  # a compressed frame
        assert await client.close_code() == 1002
    await client.leave()
