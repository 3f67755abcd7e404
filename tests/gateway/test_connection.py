"""The connection and the dispatcher by themselves: order, bounds, deadlines, faults of the hub."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from uvicorn._types import WebSocketScope

from hub.auth.places import Places
from hub.auth.rate_limits import RateLimits
from hub.domain.ids import UserId, new_id
from hub.domain.principal import Principal
from hub.gateway.connection import MAX_QUEUED, Connection
from hub.gateway.dispatch import Dispatch
from hub.gateway.endpoint import PATH, Gateway
from hub.gateway.options import GatewayOptions
from hub.gateway.services import GatewayServices
from hub.gateway.serving import Serving
from hub.gateway.transport import HubWebSocket
from hub.protocol.commands import AnyCommand
from hub.protocol.results import Empty
from hub.relay.allowances import Allowance, Allowances, Standing
from hub.relay.holdings import Holdings
from hub.relay.pipeline import Pipeline
from tests.gateway.server import Raw, eventually, frame, let_in, serving

SECRET = "/srv/secret of the hub"


def ada() -> Principal:
    return Principal(UserId(new_id()), "ada", False, 1, "token:x", datetime.now(UTC) + timedelta(hours=1))


class Bench:
    """Lets everybody in as the same user, and answers commands when the test says so."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.begun: list[str] = []
        self.may_answer = asyncio.Event()
        self.answer = self.answer_when_told
        self.options = GatewayOptions(commands_per_minute=6_000, command_burst=1_000)
        self.ended = asyncio.Event()

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        del request
        let_in(key, peer)
        connection = Connection(peer, ada(), self.options, self.answer, on_gone=lambda _: self.ended.set())
        self.connections.append(connection)
        connection.begin(stall_s=15)

    async def answer_when_told(self, connection: Connection, command: AnyCommand, arrived: float) -> None:
        self.begun.append(command.id)
        await self.may_answer.wait()
        connection.reply(command.id, Empty())


class Replies:
    """The replies on a raw connection, in order."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.waiting: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        while not self.waiting:
            opcode, payload = await self.raw.receive()
            assert opcode == 1
            self.waiting += [json.loads(line) for line in payload.split(b"\n")]
        return self.waiting.pop(0)


def ping(id_: object) -> bytes:
    return frame(json.dumps({"id": str(id_), "type": "ping"}).encode())


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
async def raw(bench: Bench) -> AsyncIterator[Raw]:
    async with serving(bench) as port:
        raw = await Raw.open(port)
        yield raw
        bench.may_answer.set()
        await raw.leave()


async def test_commands_are_answered_one_after_the_other_while_reading_goes_on(raw: Raw, bench: Bench) -> None:
    for number in range(5):
        raw.send(ping(number))
    raw.send(frame(b"are you there", 9))
    assert await raw.receive() == (10, b"are you there")
    assert bench.begun == ["0"]
    bench.may_answer.set()
    replies = Replies(raw)
    assert [(await replies.next())["id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    raw.send(ping("later"))  # the queue was empty in between
    assert (await replies.next())["id"] == "later"


async def test_more_commands_than_may_wait_are_refused(raw: Raw, bench: Bench) -> None:
    raw.send(ping("first"))
    await eventually(lambda: bench.begun == ["first"])
    for number in range(MAX_QUEUED + 3):
        raw.send(ping(number))
    replies = Replies(raw)
    for number in range(MAX_QUEUED, MAX_QUEUED + 3):
        refused = await replies.next()
        assert (refused["id"], refused["error"]["code"]) == (str(number), "rate_limited")
        assert refused["error"]["retry_after"] > 0
    bench.may_answer.set()
    answered = [(await replies.next())["id"] for _ in range(MAX_QUEUED + 1)]
    assert answered == ["first", *(str(n) for n in range(MAX_QUEUED))]


async def test_a_peer_that_leaves_is_noticed_during_a_command_and_the_waiting_ones_are_dropped(
    raw: Raw, bench: Bench
) -> None:
    raw.send(ping(1) + ping(2))
    await eventually(lambda: bench.begun == ["1"])
    await raw.leave()
    await eventually(lambda: bench.connections[0].closing)
    assert not bench.ended.is_set()  # the one under way is finished
    bench.may_answer.set()
    await asyncio.wait_for(bench.ended.wait(), 30)
    assert bench.begun == ["1"]


class Never:
    """An authenticator that does not answer, and one that breaks."""

    async def bearer(self, token: str) -> Principal:
        if token == "break":
            raise RuntimeError(SECRET)
        await asyncio.Event().wait()
        raise AssertionError


def services_of(nobody: Any, bench: Bench) -> GatewayServices:
    return GatewayServices(
        nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, bench.options, nobody, nobody
    )


async def test_the_time_a_command_waits_for_others_counts(bench: Bench) -> None:
    nobody: Any = Never()
    services = services_of(nobody, bench)
    bench.answer = Dispatch(services, deadline_s=3).answer
    async with serving(bench) as port:
        raw = await Raw.open(port)
        replies = Replies(raw)
        began = time.monotonic()
        for number in range(6):
            raw.send(frame(b'{"id":"%d","type":"auth","token":"wait"}' % number))
        codes = [(await replies.next())["error"]["code"] for _ in range(6)]
        assert codes == ["unavailable"] * 6
        assert time.monotonic() - began < 12, "one after the other would take 18 s"
        await raw.leave()


async def test_a_command_without_an_answer_and_a_fault_of_the_hub(bench: Bench) -> None:
    nobody: Any = Never()
    services = services_of(nobody, bench)
    bench.answer = Dispatch(services, deadline_s=0.2).answer
    async with serving(bench) as port:
        raw = await Raw.open(port)
        replies = Replies(raw)
        raw.send(frame(b'{"id":"1","type":"auth","token":"wait"}'))
        error = (await replies.next())["error"]
        assert (error["code"], error["retryable"]) == ("unavailable", True)
        raw.send(frame(b'{"id":"2","type":"auth","token":"break"}'))
        reply = await replies.next()
        assert reply["error"]["code"] == "internal"
        assert reply["error"]["details"]["correlation"]
        assert SECRET not in json.dumps(reply)
        raw.send(ping(3))
        assert (await replies.next())["ok"] is True
        await raw.leave()


class Faulty(RateLimits):
    """Breaks at the first command."""

    def command(self, principal: Principal, type_: str) -> Standing:
        raise RuntimeError(SECRET)


class Anybody:
    """An authenticator that knows everybody, and rooms that nobody leaves."""

    async def bearer(self, token: str) -> Principal:
        return ada()

    def when_left(self, call: object) -> None:
        pass


async def test_a_fault_while_a_connection_begins_ends_it_once(bench: Bench) -> None:
    nobody: Any = Anybody()
    serving_bots = Serving(nobody)
    services = GatewayServices(
        nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, bench.options, nobody, serving_bots
    )
    redis_away = Pipeline("redis://127.0.0.1:1")
    plenty = Allowance("any", per_minute=6_000, burst=1_000)
    limits = Faulty(Allowances(redis_away), address=plenty, user=plenty, key=plenty, costly=plenty)
    places = Places("connections", Holdings(redis_away), per_user=1)
    gateway = Gateway(services, rate_limits=limits, places=places, store=nobody, node="test")
    async with serving(gateway) as port:
        raw = await Raw.open(port, PATH)
        raw.send(frame(b'{"id":"1","type":"auth","token":"any"}') + ping(2))  # read while the connection begins
        await raw.ended()
        await eventually(lambda: gateway.sockets <= 0)
        assert (gateway.sockets, gateway.connections) == (0, 0)
        await raw.leave()
