"""The Python client on a real hub: what it hands on is the log, whatever happens to the connection."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from hub.protocol.events import (
    AnyEvent,
    BudgetReached,
    DurableEvent,
    InputRequested,
    InputResolved,
    MessageCompleted,
    MessageCreated,
    MessageDelta,
    MessageSnapshot,
    RunFinished,
    TurnSuperseded,
)
from hub.store.database import Store
from hub_client import Hub, NotSignedIn, RequestFailed, Rest, Session, SignIn, State, Status, Unreachable, connect
from tests.conftest import running_worker, settings_for
from tests.driver import PASSWORD, Door
from tests.e2e.restartable import restartable

DEADLINE_S = 60.0
PIXEL = b"\x89PNG\r\n\x1a\n"


async def registered(url: str, name: str = "") -> str:
    """A fresh user; the name."""
    name = name or f"user-{uuid.uuid4().hex[:8]}"
    async with Rest(url) as rest:
        await rest.register(name, PASSWORD)
    return name


async def sign_in(door: Door, name: str = "") -> Hub:
    return connect(door.url, name=await registered(door.url, name), password=PASSWORD)


async def until_finished(session: Session) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    async with asyncio.timeout(DEADLINE_S):
        async for event in session.events():
            events.append(event)
            if isinstance(event, RunFinished):
                break
    return events


def shown(events: list[AnyEvent]) -> dict[str, str]:
    """The text of every message as a reader puts it together, appending what comes."""
    texts: dict[str, str] = {}
    for event in events:
        match event:
            case MessageDelta():
                texts[event.data.message] = texts.get(event.data.message, "") + event.data.text
            case MessageSnapshot():
                texts[event.data.message] = event.data.text
            case TurnSuperseded():
                for message in event.data.messages:
                    texts.pop(message, None)
            case MessageCompleted():
                assert texts.get(event.data.message, event.data.text) == event.data.text
                texts[event.data.message] = event.data.text
            case _:
                pass
    return texts


def assert_contiguous(events: list[AnyEvent], first: int = 1) -> None:
    numbers = [event.seq for event in events if isinstance(event, DurableEvent)]
    assert numbers == list(range(first, first + len(numbers)))


async def test_a_conversation_from_registering_to_the_transcript(hub: Door) -> None:
    async with await sign_in(hub, "ada") as client:
        opened = await client.create_session("scripted", title="A test")
        session = await client.join(opened.id, after_seq=0)
        assert session.role == "owner"
        sent = await session.send("/script turns=3 tokens=8")
        events = await until_finished(session)
        assert_contiguous(events)
        done = [event for event in events if isinstance(event, MessageCompleted)]
        assert [event.data.text for event in done] == ["".join(f"t{t}.{i} " for i in range(8)) for t in range(3)]
        assert shown(events)[done[0].data.message] == done[0].data.text
        assert any(isinstance(event, MessageDelta) for event in events)
        transcript = await client.rest.transcript(opened.id)
        assert [m.text for m in transcript] == ["/script turns=3 tokens=8", *(event.data.text for event in done)]
        assert transcript[0].seq == sent.seq
        assert "t2.7" in await client.rest.export(opened.id, "markdown")
        assert (await client.rest.me()).name == "ada"
        assert [found.id for found in await client.rest.sessions()] == [opened.id]
        await client.rest.rename(opened.id, "Renamed")
        assert (await client.rest.session(opened.id)).title == "Renamed"
        assert {"scripted", "scripted-autogen"} <= {team.name for team in await client.rest.teams()}
        assert (await client.ping()).time
        (home,) = await client.rest.organisations()
        assert (home.role, home.home, opened.organisation) == ("member", True, home.id)
        assert (await client.create_session("scripted", organisation=home.id)).organisation == home.id


async def test_who_owns_an_organisation_lets_people_in_and_out(hub: Door, store: Store) -> None:
    async with await sign_in(hub) as client:
        me, (home,) = await client.rest.me(), await client.rest.organisations()
        async with store.transaction() as db:
            await db.connection.execute("UPDATE organisation_members SET role = 'owner' WHERE user_id = $1", me.id)
        bea = await registered(hub.url)

        async def role() -> str | None:
            return {who.name: who.role for who in await client.rest.organisation_members(home.id)}.get(bea)

        assert await role() == "member"
        await client.rest.put_organisation_member(home.id, bea, "admin")
        assert await role() == "admin"
        await client.rest.remove_organisation_member(home.id, bea)
        assert await role() is None
        with pytest.raises(RequestFailed) as refused:
            await client.rest.remove_organisation_member(home.id, bea)
        assert refused.value.code == "not_found"


async def test_two_people_on_two_workers_see_the_same(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await sign_in(one, "ada") as ada, await sign_in(two, "bea") as bea:
        assert ada.hello.node != bea.hello.node
        opened = await ada.create_session("scripted")
        await ada.rest.add_member(opened.id, "bea", "editor")
        hers = await ada.join(opened.id, after_seq=0)
        theirs = await bea.join(opened.id, after_seq=0)
        await hers.send("/script turns=2 tokens=30 rate=60")
        a, b = await asyncio.gather(until_finished(hers), until_finished(theirs))
        assert_contiguous(a)
        assert [e for e in a if isinstance(e, DurableEvent)] == [e for e in b if isinstance(e, DurableEvent)]
        assert {event.type for event in b} >= {"message.delta", "message.completed"}
        assert shown(a) == shown(b)


async def test_what_the_hub_refuses_is_a_coded_error_and_the_connection_lives(hub: Door) -> None:
    async with await sign_in(hub) as client, await sign_in(hub) as stranger:
        opened = await client.create_session("scripted")
        for what, code in (
            (client.create_session("no-such-team"), {"not_found", "bad_request"}),
            (client.join(str(uuid.uuid4())), {"not_found"}),
            (stranger.join(opened.id), {"not_found"}),
            (client.join(opened.id, after_seq=99_999), {"bad_request"}),
        ):
            with pytest.raises(RequestFailed) as failure:
                await what
            assert failure.value.code in code
        assert client.status.state is State.ONLINE


async def test_the_same_key_is_the_same_message(hub: Door) -> None:
    async with await sign_in(hub) as client:
        session = await client.join((await client.create_session("scripted")).id, after_seq=0)
        first = await session.send("/script turns=1 tokens=1", client_id="k")
        assert await session.send("/script turns=1 tokens=1", client_id="k") == first
        with pytest.raises(RequestFailed) as failure:
            await session.send("something else", client_id="k")
        assert failure.value.code == "idempotency_conflict"
        events = await until_finished(session)
        assert sum(isinstance(event, MessageCreated) for event in events) == 1


async def test_a_run_is_stopped(hub: Door) -> None:
    async with await sign_in(hub) as client:
        session = await client.join((await client.create_session("scripted")).id, after_seq=0)
        sent = await session.send("/script turns=1 tokens=500 rate=20")
        async with asyncio.timeout(DEADLINE_S):
            async for event in session.events():
                if isinstance(event, MessageDelta):
                    break
        assert (await session.cancel()).run == sent.run
        end = (await until_finished(session))[-1]
        assert isinstance(end, RunFinished)
        assert end.data.status == "cancelled"


async def test_who_is_here_is_known_and_told(hub: Door) -> None:
    async with await sign_in(hub, "ada") as ada, await sign_in(hub, "bea") as bea:
        opened = await ada.create_session("scripted")
        await ada.rest.add_member(opened.id, "bea", "viewer")
        hers = await ada.join(opened.id)
        theirs = await bea.join(opened.id)
        assert {person.name for person in theirs.presence.values()} == {"ada", "bea"}
        await theirs.set_presence("typing")
        async with asyncio.timeout(DEADLINE_S):
            async for _ in hers.events():
                known = hers.presence.get(bea.user)
                if known is not None and known.status == "typing":
                    break
        await theirs.leave()
        assert all([isinstance(event.type, str) async for event in theirs.events()])  # what was there, and then the end


async def test_a_late_joiner_sees_the_open_message_from_its_beginning(hub: Door) -> None:
    async with await sign_in(hub) as client:
        session = await client.join((await client.create_session("scripted")).id, after_seq=0)
        await session.send("/script turns=1 tokens=60 rate=20")
        async with asyncio.timeout(DEADLINE_S):
            async for event in session.events():
                if isinstance(event, MessageDelta) and event.data.index > 10:
                    break
        await session.leave()
        events = await until_finished(await client.join(session.id, after_seq=0))
        assert_contiguous(events)
        assert "message.snapshot" in {event.type for event in events}
        assert list(shown(events).values()) == ["".join(f"t0.{i} " for i in range(60))]


async def test_it_resumes_over_a_restart_of_the_hub(dsn: str, redis_url: str) -> None:
    seen: list[Status] = []
    async with restartable(settings_for(dsn, redis_url, grace_s=1, lease_s=2)) as place:
        name = await registered(place.url)
        async with connect(place.url, name=name, password=PASSWORD, on_status=seen.append) as client:
            session = await client.join((await client.create_session("scripted")).id, after_seq=0)
            await session.send("/script turns=2 tokens=60 rate=30")
            events: list[AnyEvent] = []
            async with asyncio.timeout(DEADLINE_S):
                async for event in session.events():
                    events.append(event)
                    if isinstance(event, MessageDelta):
                        break
            await place.stop()
            sending = asyncio.gather(session.send("/script turns=1 tokens=3"))
            await place.start()
            [sent] = await sending
            events += await until_finished(session)
            events += await until_finished(session)
            assert_contiguous(events)
            shown(events)
            assert sum(isinstance(e, MessageCreated) and e.seq == sent.seq for e in events) == 1
            ends = [event.data.status for event in events if isinstance(event, RunFinished)]
            assert ends == ["completed", "completed"]
    assert [State.WAITING in {status.state for status in seen}, seen[-1].state] == [True, State.ENDED]


async def test_a_sign_in_outlives_its_access_tokens_on_one_connection(dsn: str, redis_url: str) -> None:
    async with running_worker(settings_for(dsn, redis_url, access_token_s=10)) as door:
        name = await registered(door.url)
        states: list[State] = []
        async with connect(
            door.url, name=name, password=PASSWORD, on_status=lambda status: states.append(status.state)
        ) as client:
            session = await client.join((await client.create_session("scripted")).id, after_seq=0)
            await session.send("/script turns=1 tokens=60 rate=4.5")  # longer than a token lives
            events = await until_finished(session)
            assert_contiguous(events)
            assert states == [State.CONNECTING, State.ONLINE]


async def test_ways_to_sign_in_that_do_not_work(hub: Door) -> None:
    name = await registered(hub.url)
    with pytest.raises(NotSignedIn):
        async with connect(hub.url, name=name, password="wrong" + PASSWORD):
            pass
    for bad in (connect(hub.url, token="nonsense"), connect(hub.url, api_key="hub_x_y")):
        with pytest.raises(NotSignedIn):
            async with bad:
                pass
    async with Rest(hub.url) as rest:
        with pytest.raises(RequestFailed) as failure:
            await rest.register(name, PASSWORD)
        assert failure.value.code == "conflict"
        with pytest.raises(NotSignedIn):
            await rest.me()


async def test_a_refresh_token_is_good_once_and_can_be_revoked(hub: Door) -> None:
    name = await registered(hub.url)
    async with Rest(hub.url) as rest:
        tokens = await rest.sign_in(name, PASSWORD)
        fresh = await rest.refresh(tokens.refresh_token)
        assert fresh.refresh_token != tokens.refresh_token
        await rest.revoke(fresh.refresh_token)
        with pytest.raises(NotSignedIn):
            await SignIn(rest, tokens=fresh).renew()


async def test_no_hub_there_is_said_plainly() -> None:
    async with Rest("http://127.0.0.1:9") as rest:
        with pytest.raises(Unreachable, match=r"no hub answers at http://127\.0\.0\.1:9"):
            await rest.sign_in("a", "b")


async def test_a_client_answers_pauses_and_resumes(hub: Door) -> None:
    async with await sign_in(hub) as client:
        session = await client.join((await client.create_session("scripted-tools")).id, after_seq=0)
        sent = await session.send("/script turns=2 tokens=2 tool=transfer key=k")
        async with asyncio.timeout(DEADLINE_S):
            async for event in session.events():
                if isinstance(event, InputRequested):
                    request = event
                    break
        assert (await session.pause()).status == "paused"
        seq = (await session.respond(request.data.request, decision="approve")).seq
        assert (await session.respond(request.data.request, decision="approve")).seq == seq
        with pytest.raises(RequestFailed) as refused:
            await session.respond(request.data.request, decision="reject")
        assert refused.value.code == "conflict"
        assert (await session.resume()).run == sent.run
        events = await until_finished(session)
        assert [e.seq for e in events if isinstance(e, InputResolved)] == [seq]
        assert isinstance(events[-1], RunFinished)
        assert events[-1].data.status == "completed"


async def test_a_client_sees_what_was_used_and_sets_budgets(hub: Door) -> None:
    async with await sign_in(hub) as client:
        session = await client.join((await client.create_session("scripted")).id, after_seq=0)
        await session.send("/script turns=2 tokens=3")
        await until_finished(session)
        used = await client.rest.usage(session.id)
        assert (used.usage.turns, used.usage.completion_tokens, used.models[0].model) == (2, 6, "scripted")
        assert (await client.rest.own_usage()).usage == used.usage
        assert (await client.rest.own_usage(until=datetime(2020, 1, 1, tzinfo=UTC))).models == []
        assert await client.rest.budgets(session.id) == []
        (limit,) = await client.rest.set_budget(session.id, "session", "turns", 3)
        assert (limit.limit, limit.used, limit.set) == (3, 2, True)
        await session.send("/script turns=2 tokens=3")
        reached = [event for event in await until_finished(session) if isinstance(event, BudgetReached)]
        assert [(event.data.quantity, event.data.used) for event in reached] == [("turns", 3)]
        assert await client.rest.set_budget(session.id, "session", "turns", None) == []


async def test_attachments_are_uploaded_sent_and_fetched(hub: Door) -> None:
    async def paper() -> AsyncGenerator[bytes]:
        yield b"# Ti"
        yield b"tle"

    async with await sign_in(hub) as client:
        opened = await client.create_session("scripted")
        picture = await client.rest.upload(opened.id, PIXEL, name="a.png", media_type="image/png")
        text = await client.rest.upload(opened.id, paper(), name="b.md", media_type="text/markdown")
        session = await client.join(opened.id, after_seq=0)
        await session.send(attachments=[picture.id, text.id])
        (said,) = [event for event in await until_finished(session) if isinstance(event, MessageCreated)]
        assert [(part["id"], part["name"]) for part in said.data.parts] == [(picture.id, "a.png"), (text.id, "b.md")]
        assert await client.rest.download(opened.id, picture.id) == PIXEL
        assert await client.rest.download(opened.id, text.id) == b"# Title"
        with pytest.raises(RequestFailed) as refused:
            await client.rest.upload(opened.id, b"MZ\x00", name="c.exe")
        assert refused.value.code == "bad_request"
        regretted = await client.rest.upload(opened.id, PIXEL, name="d.png")
        await client.rest.discard(opened.id, regretted.id)
        with pytest.raises(RequestFailed) as gone:
            await client.rest.download(opened.id, regretted.id)
        assert gone.value.code == "not_found"


async def test_what_is_there_is_exported_and_oneself_erased(dsn: str, redis_url: str) -> None:
    # A hub of its own: erasing goes on after the answer, while the shared one is emptied.
    async with running_worker(settings_for(dsn, redis_url)) as hub, await sign_in(hub) as client:
        session = await client.join((await client.create_session("scripted")).id, after_seq=0)
        await session.send("hello")
        await until_finished(session)
        lines = [line async for line in client.rest.export_session(session.id)]
        assert (lines[0]["kind"], lines[-1]) == ("export", {"kind": "end", "lines": len(lines) - 2})
        assert {"session", "member", "event", "run"} <= {line["kind"] for line in lines}
        own = [line async for line in client.rest.export_me()]
        assert [line["text"] for line in own if line["kind"] == "message"] == ["hello"]
        with pytest.raises(RequestFailed) as unknown:
            _ = [line async for line in client.rest.export_session(str(uuid.uuid4()))]
        assert unknown.value.code == "not_found"
        with pytest.raises(RequestFailed) as refused:
            await client.rest.erase_me("wrong" + PASSWORD)
        assert refused.value.code == "forbidden"
        me = (await client.rest.me()).id
        assert await client.rest.erase_me(PASSWORD) == me
        with pytest.raises(NotSignedIn):
            await client.rest.me()


@pytest.mark.parametrize(
    "lines",
    [
        ['{"kind":"export"}', '{"kind":"run"}'],
        ['{"kind":"export"}', '{"kind":"run"}', '{"kind":"end","lines":2}'],
        ['{"kind":"export"}', '{"kind":"ru'],
        [],
    ],
)
async def test_an_export_that_was_cut_off_is_none(lines: list[str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + "\n".join(lines).encode())
        writer.close()

    async def token() -> str:
        return "t"

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        rest = Rest(f"http://127.0.0.1:{port}", token)
        async with rest:
            with pytest.raises(Unreachable):
                _ = [line async for line in rest.export_me()]
