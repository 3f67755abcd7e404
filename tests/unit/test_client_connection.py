"""The client against a hub that the test plays: gaps, closes, resends, expiry, refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any

import pytest

from hub.protocol.events import AnyEvent, DurableEvent, MessageDelta
from hub_client import (
    ConnectionLost,
    FixedToken,
    Hub,
    HubClientError,
    NoAnswer,
    NotSignedIn,
    RequestFailed,
    Session,
    State,
    Status,
    Stopped,
    Unreachable,
    connect,
)
from tests.unit import played_hub as play
from tests.unit.played_hub import SESSION, Peer, PlayedHub, played_hub


@pytest.fixture
async def there() -> AsyncIterator[PlayedHub]:
    async with played_hub() as hub:
        yield hub


class Renewable:
    """A credential with numbered tokens."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self) -> str:
        return f"t{self.number}"

    async def renew(self) -> str:
        self.number += 1
        return await self.token()


async def next_events(session: Session, count: int) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    async with asyncio.timeout(30):
        async for event in session.events():
            events.append(event)
            if len(events) == count:
                break
    return events


async def failure_of(command: Awaitable[object]) -> HubClientError | None:
    try:
        await command
    except HubClientError as e:
        return e
    return None


def seqs(events: list[AnyEvent]) -> list[int]:
    return [e.seq for e in events if isinstance(e, DurableEvent)]


async def joined(hub: Hub, peer: Peer, last_seq: int, *frames: dict[str, Any], after_seq: int | None = 0) -> Session:
    async with asyncio.TaskGroup() as tasks:
        joining = tasks.create_task(hub.join(SESSION, after_seq))
        await peer.accept_join(last_seq, *frames)
    return joining.result()


async def test_hello_says_who_and_where(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        assert (hub.user, hub.hello.user.name, hub.hello.node) == ("u1", "anna", "here:1:x")
        assert peer.authorization == "Bearer t"


async def test_what_comes_in_one_frame_with_the_hello_is_taken_too(there: PlayedHub) -> None:
    there.hello = False
    statuses: list[Status] = []
    async with asyncio.TaskGroup() as tasks:
        opened = tasks.create_task(connect(there.url, token="t1", on_status=statuses.append).__aenter__())
        await (await there.connection()).send(play.hello(), play.event("news", run=None))
        hub = await opened
    assert (hub.user, [one.state for one in statuses]) == ("u1", [State.CONNECTING, State.ONLINE])
    await hub.__aexit__(None, None, None)


async def test_who_gives_up_before_the_hello_leaves_no_connection(there: PlayedHub) -> None:
    there.hello = False
    opening = asyncio.create_task(connect(there.url, token="t", patience_s=60).__aenter__())
    peer = await there.connection()
    await peer.met()
    opening.cancel()
    await asyncio.wait((opening,))
    assert opening.cancelled()
    await peer.gone()


async def test_the_replay_right_behind_the_reply_is_not_missed(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        session = await joined(hub, await there.connection(), 2, play.turn(1), play.turn(2))
        assert seqs(await next_events(session, 2)) == [1, 2]
        assert session.joined_at == 2


async def test_without_a_position_the_client_starts_where_the_replay_does(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        async with asyncio.TaskGroup() as tasks:
            joining = tasks.create_task(hub.join(SESSION))
            command = await peer.accept_join(60, play.turn(11), play.turn(12), replay_from=11)
        assert "after_seq" not in command
        assert seqs(await next_events(joining.result(), 2)) == [11, 12]


async def test_repeated_events_are_dropped_and_unknown_ones_keep_their_place(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 1, play.turn(1))
        await peer.send(play.turn(1), play.event("poll.opened", 2, question="?"), {"type": "weather"}, play.turn(3))
        assert seqs(await next_events(session, 2)) == [1, 3]
        assert session.seq == 3


async def test_a_gap_makes_the_client_follow_the_log_again(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 1, play.turn(1))
        await peer.send(play.turn(3), play.turn(4))
        await peer.reply(await peer.expect("session.leave"))
        command = await peer.accept_join(4, play.turn(2), play.turn(3), play.turn(4))
        assert command["after_seq"] == 1
        assert seqs(await next_events(session, 4)) == [1, 2, 3, 4]


async def test_resync_repeats_without_duplicates_and_beyond_the_position_is_a_gap(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 2, play.turn(1), play.turn(2))
        await peer.send(play.event("resync", from_seq=1, reason="lag"), play.turn(2), play.turn(3))
        assert seqs(await next_events(session, 3)) == [1, 2, 3]
        await peer.send(play.event("resync", from_seq=9, reason="lag"), play.turn(10))
        await peer.reply(await peer.expect("session.leave"))
        assert (await peer.accept_join(3))["after_seq"] == 3


@pytest.mark.parametrize("code", [4000, 4001, 1012, None])
async def test_after_a_lost_connection_it_resumes_at_its_position(there: PlayedHub, code: int | None) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 1, play.turn(1))
        await peer.send({"type": "server.draining", "data": {"reconnect_after_ms": 50}}, play.delta(0, "a"))
        await next_events(session, 2)
        await (peer.abort() if code is None else peer.close(code))
        again = await there.connection()
        command = await again.accept_join(2, play.turn(2), play.snapshot(3, "abc"))
        assert command["after_seq"] == 1
        await again.send(play.delta(2, "c"), play.delta(3, "d"))
        events = await next_events(session, 3)
        assert [e.type for e in events] == ["turn.started", "message.snapshot", "message.delta"]
        message = session.open.get("m1")
        assert message is not None
        assert message.text == "abcd"


async def test_a_send_under_way_is_sent_again_with_the_same_key(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub, asyncio.TaskGroup() as tasks:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        sending = tasks.create_task(session.send("hello"))
        first = await peer.expect("message.send")
        await peer.abort()
        again = await there.connection()
        second = await again.expect("message.send")
        assert second == first
        await again.reply(second, seq=1, message="m", run="r")
        assert (await sending).seq == 1
        await again.accept_join(1)


async def test_every_command_of_a_session_says_what_it_was_called_for(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub, asyncio.TaskGroup() as tasks:
        peer = await there.connection()
        session = await joined(hub, peer, 7, after_seq=7)
        seq, run, status = {"seq": 9}, {"run": "r"}, {"run": "r", "status": "paused"}
        opened = {
            **{"id": "s2", "title": "", "team": "duo", "role": "owner", "status": "idle", "last_seq": 3},
            **{"on_busy": "queue", "created_at": "x", "updated_at": "x", "metadata": {}},
        }
        calls: list[tuple[Coroutine[Any, Any, Any], str, dict[str, Any], dict[str, Any]]] = [
            (session.edit("m", "better"), "message.edit", {"message": "m", "text": "better"}, seq | run),
            (session.regenerate("m"), "message.regenerate", {"message": "m"}, seq | run),
            (session.pause(), "run.pause", {}, status),
            (session.resume(), "run.resume", {}, status),
            (
                session.respond("q", decision="approve", text="fine"),
                "input.respond",
                {"request": "q", "decision": "approve", "text": "fine"},
                seq,
            ),
            (session.respond("q", text="42"), "input.respond", {"request": "q", "text": "42"}, seq),
            (session.fork(), "session.fork", {"at_seq": 7}, opened),
            (session.fork(5), "session.fork", {"at_seq": 5}, opened),
        ]
        for asking, type_, fields, result in calls:
            answer = tasks.create_task(asking)
            command = await peer.expect(type_)
            assert {k: v for k, v in command.items() if k != "id"} == {"type": type_, "session": SESSION, **fields}
            await peer.reply(command, **result)
            assert (await answer).model_dump(exclude_unset=True) == result


async def test_a_command_that_cannot_be_repeated_fails_honestly(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub, asyncio.TaskGroup() as tasks:
        peer = await there.connection()
        creating = tasks.create_task(failure_of(hub.create_session("duo")))
        await peer.expect("session.create")
        await peer.abort()
        assert isinstance(await creating, ConnectionLost)


async def test_a_command_made_while_offline_waits_for_the_connection(there: PlayedHub) -> None:
    seen: list[Status] = []
    until_offline = asyncio.Event()

    def note(status: Status) -> None:
        seen.append(status)
        if status.state is State.WAITING:
            until_offline.set()

    async with connect(there.url, token="t", on_status=note) as hub, asyncio.TaskGroup() as tasks:
        peer = await there.connection()
        await peer.abort()
        await until_offline.wait()
        creating = tasks.create_task(hub.ping())
        again = await there.connection()
        await again.reply(await again.expect("ping"), time="now")
        assert (await creating).time == "now"
    assert [status.state for status in seen[:4]] == [State.CONNECTING, State.ONLINE, State.WAITING, State.CONNECTING]
    assert seen[-1].state is State.ENDED


async def test_retryable_refusals_of_a_send_are_tried_again_others_are_told(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub, asyncio.TaskGroup() as tasks:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        sending = tasks.create_task(failure_of(session.send("hello")))
        first = await peer.expect("message.send")
        await peer.refuse(first, "rate_limited", retryable=True, retry_after=0.01)
        second = await peer.expect("message.send")
        assert second["client_id"] == first["client_id"]
        await peer.refuse(second, "busy", retryable=True)
        failure = await sending
        assert isinstance(failure, RequestFailed)
        assert failure.code == "busy"


async def test_what_is_no_command_is_refused_without_asking_the_hub(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        session = await joined(hub, await there.connection(), 0)
        with pytest.raises(RequestFailed) as failure:
            await session.send("x" * 40_000)
        assert failure.value.code == "bad_request"
        assert str(failure.value).startswith("text:")


async def test_no_answer_has_a_deadline(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        session = await joined(hub, await there.connection(), 0)
        with pytest.raises(NoAnswer):
            await session.send("hello", timeout_s=0.05)


async def test_a_session_that_is_gone_ends_with_the_reason(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 1, play.turn(1))
        await peer.close(4001)
        again = await there.connection()
        await again.refuse(await again.expect("session.join"), "not_found")
        with pytest.raises(RequestFailed) as failure:
            await next_events(session, 5)
        assert failure.value.code == "not_found"


async def test_resuming_keeps_trying_while_the_hub_is_not_well(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 1, play.turn(1))
        await peer.close(4001)
        again = await there.connection()
        await again.refuse(await again.expect("session.join"), "unavailable", retryable=True, retry_after=0.01)
        await again.accept_join(2, play.turn(2))
        assert seqs(await next_events(session, 2)) == [1, 2]


async def test_a_slow_reader_gets_everything_by_following_again(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        total = 5000
        for start in range(1, total + 1, 500):
            await peer.send(*(play.turn(seq) for seq in range(start, start + 500)))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hub.ping())
            await peer.reply(await peer.expect("ping"), time="now")  # everything before it has arrived
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(next_events(session, total))
            await peer.reply(await peer.expect("session.leave"))
            command = await peer.expect("session.join")
            after = command["after_seq"]
            assert 0 < after < total
            result = {"session": SESSION, "role": "owner", "last_seq": total, "replay_from": after + 1, "presence": []}
            await peer.reply(command, **result)
            await peer.send(*(play.turn(seq) for seq in range(after + 1, total + 1)))
        assert seqs(reading.result()) == list(range(1, total + 1))


async def test_the_credential_is_renewed_on_the_open_connection(there: PlayedHub) -> None:
    async with Hub(there.url, Renewable()):
        peer = await there.connection()
        await peer.send({"type": "auth.expiring", "data": {"expires_at": "soon"}})
        command = await peer.expect("auth")
        assert command["token"] == "t2"
        await peer.reply(command, user={"id": "u1", "name": "anna"}, expires_at="later")


async def test_an_ended_credential_is_renewed_before_coming_back(there: PlayedHub) -> None:
    async with Hub(there.url, Renewable()):
        await (await there.connection()).close(4100)
        assert (await there.connection()).authorization == "Bearer t2"


async def test_an_ended_credential_without_a_successor_is_the_end(there: PlayedHub) -> None:
    async with Hub(there.url, FixedToken("t")) as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        await peer.close(4100)
        with pytest.raises(NotSignedIn):
            await next_events(session, 1)
        with pytest.raises(NotSignedIn):
            await session.send("hello")


async def test_a_handshake_refused_with_401_is_tried_once_more_with_a_new_token(there: PlayedHub) -> None:
    there.statuses = [401]
    async with Hub(there.url, Renewable()):
        assert (await there.connection()).authorization == "Bearer t2"
    there.statuses = [401, 401]
    with pytest.raises(NotSignedIn):
        async with Hub(there.url, Renewable()):
            pass


@pytest.mark.parametrize("status", [403, 404])
async def test_some_refusals_of_the_handshake_are_final(there: PlayedHub, status: int) -> None:
    there.statuses = [status]
    with pytest.raises(Stopped):
        async with connect(there.url, token="t"):
            pass


async def test_a_busy_hub_is_tried_again(there: PlayedHub) -> None:
    there.statuses = [503, 503]
    async with connect(there.url, token="t"):
        await there.connection()


@pytest.mark.parametrize("code", [4501, 4503, 4510, 1008])
async def test_codes_that_say_stop_end_everything(there: PlayedHub, code: int) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        await peer.close(code, "no more")
        with pytest.raises(Stopped, match="no more") as stopped:
            await next_events(session, 1)
        assert stopped.value.close_code == code


@pytest.mark.parametrize("garbage", ["{", "[]", '{"type":"message.delta","data":{}}'])
async def test_a_peer_that_does_not_speak_the_protocol_is_left(there: PlayedHub, garbage: str) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        await peer.send_raw(garbage)
        with pytest.raises(Stopped, match=r"hub\.v1"):
            await next_events(session, 1)


async def test_nobody_there_is_told_after_a_while() -> None:
    with pytest.raises(Unreachable):
        async with connect("http://127.0.0.1:9", token="t", patience_s=0.3):
            pass


async def test_leaving_ends_the_events_and_closing_ends_them_quietly(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 1, play.turn(1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.leave())
            await peer.reply(await peer.expect("session.leave"))
        assert seqs(await next_events(session, 2)) == [1]
        other = await joined(hub, peer, 0)
    assert await next_events(other, 1) == []


async def test_one_reader_at_a_time(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        session = await joined(hub, await there.connection(), 1, play.turn(1))
        await next_events(session, 1)

        async def two() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(next_events(session, 1))
                tasks.create_task(next_events(session, 1))

        with pytest.RaisesGroup(RuntimeError):
            await two()


async def test_the_error_of_the_body_comes_out_as_it_is(there: PlayedHub) -> None:
    with pytest.raises(KeyError):
        async with connect(there.url, token="t"):
            raise KeyError("mine")


async def test_presence_is_kept_per_user(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        bea: dict[str, Any] = {"user": "u2", "name": "bea", "connections": 1}
        await peer.send(play.event("presence.changed", run=None, status="typing", **bea))
        await next_events(session, 1)
        assert session.presence["u2"].status == "typing"
        await peer.send(play.event("presence.changed", run=None, status="offline", **bea))
        await next_events(session, 1)
        assert session.presence == {}


async def test_deltas_that_come_twice_reach_the_reader_once(there: PlayedHub) -> None:
    async with connect(there.url, token="t") as hub:
        peer = await there.connection()
        session = await joined(hub, peer, 0)
        await peer.send(play.delta(0, "a"), play.delta(0, "a"), play.delta(1, "b"), play.turn(1))
        events = await next_events(session, 3)
        assert "".join(e.data.text for e in events if isinstance(e, MessageDelta)) == "ab"


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://"])
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address of a hub"):
        connect(url, token="t")


def test_exactly_one_way_to_sign_in() -> None:
    with pytest.raises(ValueError, match="password"):
        connect("http://127.0.0.1:1", token="t", api_key="k")
