"""The pipeline, the subscriber and the publisher against a real Valkey, also a stopped, frozen and emptied one."""

import asyncio
import socket
import time

import pytest

from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId
from hub.relay import envelope, keys
from hub.relay.connection import Redis
from hub.relay.pipeline import MIN_GAP_S, NotSent, Pipeline
from hub.relay.wire import Address, Reply, encode
from tests.relay.wiring import Relay, ask, ear, eventually, eventually_so, new_session, own_valkey, relay


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address(None, "h", 6379, False, None, None, 0)),
        ("redis://:p%40w@h:1/2", Address(None, "h", 1, False, None, "p@w", 2)),
        ("rediss://u:p@h", Address(None, "h", 6379, True, "u", "p", 0)),
        (
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            Address(None, "h", 6379, True, None, None, 0, "/ca.pem", "/c.pem", "/k.pem"),
        ),
        ("unix:///tmp/a.sock?db=3", Address("/tmp/a.sock", "localhost", 6379, False, None, None, 3)),
        ("unix://:p@/tmp/a.sock", Address("/tmp/a.sock", "localhost", 6379, False, None, "p", 0)),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert Address.parse(url) == address


def test_another_kind_of_url_is_refused() -> None:
    with pytest.raises(ValueError, match="redis://"):
        Address.parse("http://h")
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        Address.parse("rediss://h?ssl_cert_reqs=none")


async def _ask_pipeline(pipeline: Pipeline, *words: bytes) -> Reply:
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    pipeline.submit(encode(*words), reply.set_result)
    async with asyncio.timeout(30):
        return await reply


async def test_what_one_pass_of_the_loop_says_leaves_in_one_write_and_in_order(redis_url: str) -> None:
    async with relay(redis_url, quiet_s=60) as one:
        replies: list[Reply] = []
        flushes = one.pipeline.flushes
        for number in range(100):
            one.pipeline.submit(encode(b"RPUSH", b"list", b"%d" % number), replies.append)
        await eventually(lambda: len(replies) == 100)
        assert one.pipeline.flushes == flushes + 1
        assert replies == list(range(1, 101))
        assert await ask(redis_url, "LRANGE", "list", 0, 1) == [b"0", b"1"]


async def test_a_busy_connection_sends_every_few_milliseconds_and_an_idle_one_at_once(redis_url: str) -> None:
    async with relay(redis_url, quiet_s=60) as one:
        loop = asyncio.get_running_loop()
        await _ask_pipeline(one.pipeline, b"PING")
        answered = loop.time()
        await eventually(lambda: loop.time() > answered + MIN_GAP_S)
        flushes, begun = one.pipeline.flushes, loop.time()
        replies: list[Reply] = []
        one.pipeline.submit(encode(b"PING"), replies.append)
        await asyncio.sleep(0)
        assert one.pipeline.flushes == flushes + 1
        sent = 1
        while loop.time() < begun + 25 * MIN_GAP_S:  # as tokens come: one in every pass of the loop
            one.pipeline.submit(encode(b"PING"), replies.append)
            sent += 1
            await asyncio.sleep(0)
        await eventually(lambda: len(replies) == sent)
        assert one.pipeline.flushes - flushes <= 1 + (loop.time() - begun) / MIN_GAP_S


async def test_what_collects_while_a_batch_is_under_way_goes_out_together(redis_url: str) -> None:
    async with relay(redis_url, quiet_s=60) as one:
        replies: list[Reply] = []
        one.pipeline.submit(encode(b"PING"), replies.append)
        await asyncio.sleep(0)
        flushes = one.pipeline.flushes
        for _ in range(50):
            one.pipeline.submit(encode(b"PING"), replies.append)
            await asyncio.sleep(0)
        await eventually(lambda: len(replies) == 51)
        assert one.pipeline.flushes - flushes < 50


async def test_without_redis_a_command_is_answered_at_once_and_the_pipeline_comes_back() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            valkey.stop()
            await eventually(lambda: not one.pipeline.connected)
            assert isinstance(await _ask_pipeline(one.pipeline, b"PING"), NotSent)
            valkey.start()
            await eventually(lambda: one.pipeline.connected)
            assert await _ask_pipeline(one.pipeline, b"PING") == b"PONG"


async def test_a_frozen_redis_is_given_up_and_bounds_what_waits() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url, max_bytes=1_000) as one:
            valkey.freeze()
            replies: list[Reply] = []
            one.pipeline.submit(encode(b"PING"), replies.append)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for _ in range(100):
                one.pipeline.submit(encode(b"ECHO", b"x" * 100), replies.append)
            assert one.pipeline.dropped > 80
            started = time.monotonic()
            await eventually(lambda: len(replies) == 101)
            assert time.monotonic() - started < 15
            assert all(isinstance(reply, NotSent) for reply in replies)


async def test_a_killed_connection_is_a_gap_and_later_messages_arrive(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        gaps = listener.gaps
        await ask(redis_url, "CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: listener.gaps > gaps)
        one.publisher.publish(session, envelope.live(session, b"{}"))
        await eventually(lambda: len(listener.heard) == 1)


async def test_many_channels_come_back_after_a_restart() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            listeners = [await ear(one, new_session()) for _ in range(600)]
            before = [listener.gaps for listener in listeners]
            valkey.stop()
            await eventually(lambda: not one.subscriber.connected)
            late = one.subscriber.subscribe(b"late", lambda _: None, lambda: None)
            assert not late.confirmed.done()
            valkey.start()
            await eventually(
                lambda: all(listener.gaps > gaps for listener, gaps in zip(listeners, before, strict=True))
            )
            await eventually(late.confirmed.done)


async def test_a_frozen_redis_is_noticed_by_the_listener() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url, quiet_s=0.3) as one:
            listener = await ear(one, new_session())
            valkey.freeze()
            await eventually(lambda: not one.subscriber.connected)
            valkey.thaw()
            gaps = listener.gaps
            await eventually(lambda: one.subscriber.connected and listener.gaps > gaps)


async def _reconnects(one: Relay) -> int:
    """How often the subscriber gave its connection up, out of three quiet periods."""
    listener = await ear(one, new_session())
    gaps = listener.gaps
    try:
        await eventually(lambda: listener.gaps > gaps, deadline_s=1.5)
    except TimeoutError:
        return 0
    return listener.gaps - gaps


async def test_a_redis_that_answers_but_delivers_nothing_is_found(redis_url: str) -> None:
    with own_valkey() as other:
        async with relay(redis_url, quiet_s=0.2, publish_url=other.url) as one:
            assert await _reconnects(one) > 0


async def test_a_quiet_connection_that_delivers_is_kept(redis_url: str) -> None:
    async with relay(redis_url, quiet_s=0.2) as one:
        assert await _reconnects(one) == 0


async def test_a_probe_that_was_not_sent_proves_nothing(redis_url: str) -> None:
    with own_valkey() as other:
        async with relay(redis_url, quiet_s=0.2, publish_url=other.url) as one:
            other.stop()
            await eventually(lambda: not one.pipeline.connected)
            assert await _reconnects(one) == 0


async def unheard(url: str, session: SessionId) -> bool:
    return await ask(url, "PUBSUB", "NUMSUB", keys.channel(session)) == [keys.channel(session), 0]


async def test_two_listeners_of_a_channel_and_the_last_one_leaving(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        first, second = await ear(one, session), await ear(one, session)
        assert first.subscription is not None
        assert second.subscription is not None
        one.publisher.publish(session, envelope.live(session, b"{}"))
        await eventually(lambda: len(first.heard) == len(second.heard) == 1)
        first.subscription.cancel()
        first.subscription.cancel()
        one.publisher.publish(session, envelope.live(session, b"{}"))
        await eventually(lambda: len(second.heard) == 2)
        assert len(first.heard) == 1
        second.subscription.cancel()
        await eventually_so(lambda: unheard(redis_url, session))


async def test_leaving_and_listening_again_at_once_misses_nothing_for_ever(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        for _ in range(50):
            listener = await ear(one, session)
            assert listener.subscription is not None
            listener.subscription.cancel()
            one.subscriber.subscribe(keys.channel(session), lambda _: None, lambda: None).cancel()
        listener = await ear(one, session)
        # The confirmation may be that of an earlier SUBSCRIBE: then a second one says that there was a gap.
        reply = await _ask_pipeline(one.pipeline, b"PUBLISH", keys.channel(session), envelope.live(session, b"{}"))
        if reply == 0:
            await eventually(lambda: listener.gaps > 1)
        else:
            await eventually(lambda: listener.heard)


async def test_while_redis_is_away_local_listeners_still_hear(redis_url: str) -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            session = new_session()
            listener = await ear(one, session)
            valkey.stop()
            await eventually(lambda: not one.pipeline.connected)
            one.publisher.publish(session, envelope.live(session, b'{"n":1}'))
            assert [heard.frame for heard in listener.heard] == [b'{"n":1}']


async def test_what_was_under_way_when_redis_died_is_heard_locally() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            session = new_session()
            listener = await ear(one, session)
            valkey.freeze()
            one.publisher.publish(session, envelope.live(session, b'{"n":1}'))
            await eventually(lambda: listener.heard)


async def test_passwords_and_databases() -> None:
    with own_valkey() as valkey:
        await ask(valkey.url, "CONFIG", "SET", "requirepass", "secret")
        locked = Redis(valkey.url)
        with pytest.raises(Unavailable):
            await locked.ping()
        await locked.close()
        url = valkey.url.replace("unix://", "unix://:secret@") + "?db=2"
        async with relay(url) as one:
            await one.redis.ping()
            assert await _ask_pipeline(one.pipeline, b"SET", b"key", b"1") == b"OK"
            assert await one.redis.command("GET", "key") == b"1"


async def test_over_tcp() -> None:
    with own_valkey() as valkey:
        with socket.socket() as place:  # bound without listening: nobody else is given the port meanwhile
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
            await ask(valkey.url, "CONFIG", "SET", "port", port)
        async with relay(f"redis://127.0.0.1:{port}") as one:
            session = new_session()
            listener = await ear(one, session)
            one.publisher.publish(session, envelope.live(session, b"{}"))
            await eventually(lambda: listener.heard)
            await one.redis.ping()


async def test_a_wrong_password_keeps_trying_without_a_connection() -> None:
    with own_valkey() as valkey:
        await ask(valkey.url, "CONFIG", "SET", "requirepass", "secret")
        async with relay(valkey.url, connected=False) as one:
            await asyncio.sleep(0.1)
            assert not one.pipeline.connected
            assert not one.subscriber.connected
            await ask(valkey.url.replace("unix://", "unix://:secret@"), "CONFIG", "SET", "requirepass", "")
            await one.connected()


async def test_questions_have_a_deadline() -> None:
    with own_valkey() as valkey:
        client = Redis(valkey.url)
        await client.ping()
        valkey.freeze()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await client.command("GET", "x")
        assert time.monotonic() - started < 15
        await client.close()


async def test_what_is_not_wanted_any_more_when_it_is_to_leave_stays(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session, wanted = new_session(), True
        listener = await ear(one, session)
        for number in range(4):
            still = (lambda: wanted) if number % 2 else None
            one.publisher.publish(session, envelope.live(session, b'{"n":%d}' % number), still)
        wanted = False  # the worker stood still before the batch left
        await eventually(lambda: len(listener.heard) == 2)
        wanted = True
        one.publisher.publish(session, envelope.live(session, b'{"n":4}'), lambda: wanted)
        await eventually(lambda: len(listener.heard) == 3)
        assert [item.frame for item in listener.heard] == [b'{"n":0}', b'{"n":2}', b'{"n":4}']
        assert one.publisher.local == 0
