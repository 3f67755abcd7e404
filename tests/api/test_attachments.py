"""Attachments: uploaded, sent, seen in the transcript, fetched; and everything that is refused."""

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from hub.domain.errors import BadRequest, RateLimited, TooLarge, Unavailable
from hub.domain.ids import UserId, new_id
from hub.domain.organisation import FIRST_ORGANISATION
from hub.domain.principal import Principal
from hub.sessions.attachments import Attachments, Quotas
from hub.store import users
from hub.store.attachments import PIECE
from hub.store.database import Store
from tests.api.people import Json, fresh, open_session, problem
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door
from tests.engine.fake_openai import fake_openai
from tests.store.conftest import make_session

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
MOST, PER_SESSION, PER_USER = 600_000, 700_000, 1_000_000


@pytest.fixture(scope="module")
async def dsn(cluster: Cluster) -> AsyncIterator[str]:
    dsn = await cluster.clone()
    yield dsn
    await cluster.drop(dsn)


@pytest.fixture(scope="module")
async def door(dsn: str, valkey_server: str) -> AsyncIterator[Door]:
    limits = {
        "attachment_bytes": MOST,
        "attachment_bytes_per_session": PER_SESSION,
        "attachment_bytes_per_user": PER_USER,
        "keep_deleted_s": 60,
        "sweep_s": 0.2,
    }
    async with running_worker(settings_for(dsn, valkey_server, **limits)) as door:
        yield door


async def sql(dsn: str, statement: str, *values: object) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def upload(
    rest: httpx2.AsyncClient, session: str, content: Any, kind: str | None = None, name: str = "a.bin"
) -> httpx2.Response:
    headers = {"Content-Type": kind} if kind is not None else {}
    return await rest.post(
        f"/v1/sessions/{session}/attachments", params={"name": name}, content=content, headers=headers
    )


async def uploaded(rest: httpx2.AsyncClient, session: str, content: Any, kind: str | None = None) -> Json:
    answer = await upload(rest, session, content, kind)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def with_it(rest: httpx2.AsyncClient, session: str, *ids: str, text: str | None = "look") -> httpx2.Response:
    parts = [{"type": "attachment", "id": id_} for id_ in ids]
    return await rest.post(
        f"/v1/sessions/{session}/messages", json={"parts": parts, **({"text": text} if text else {})}
    )


async def test_uploaded_sent_shown_and_fetched(door: Door) -> None:
    token, other_token = await door.register(fresh("ada")), await door.register(name := fresh("bob"))
    content = PNG + os.urandom(PIECE + 1)  # more than one piece
    async with door.rest(token) as rest, door.rest(other_token) as other, await door.enter(token) as ada:
        session = await open_session(rest)
        answer = await upload(rest, session, content, "image/png", name="../folder/ca\u202et\u00e9.png")
        assert answer.status_code == 201, answer.text
        made = answer.json()
        digest = hashlib.sha256(content).hexdigest()
        assert made | {"created_at": ""} == {
            "id": made["id"], "session": session, "name": "cat\u00e9.png", "media_type": "image/png",
            "size": len(content), "sha256": digest, "created_at": "",
        }  # fmt: skip

        await ada.ask("session.join", session=session)
        part = {"type": "attachment", "id": made["id"]}
        sent = await ada.ask("message.send", session=session, client_id="1", text="/script history", parts=[part])
        shown = part | {"name": made["name"], "media_type": "image/png", "size": len(content), "sha256": digest}
        assert (await ada.expect("message.created"))["data"]["parts"] == [shown]
        again = await ada.ask("message.send", session=session, client_id="1", text="/script history", parts=[part])
        assert again == sent
        told = await ada.expect("message.completed")
        assert told["data"]["text"].startswith("1\n"), told
        await ada.expect("run.finished")
        (first, *_) = (await rest.get(f"/v1/sessions/{session}/transcript")).json()["messages"]
        assert first["parts"] == [shown]
        markdown = (await rest.get(f"/v1/sessions/{session}/transcript?format=markdown")).text
        assert "- cat\u00e9\\.png (image/png, " in markdown

        url = f"/v1/sessions/{session}/attachments/{made['id']}"
        got = await rest.get(url)
        assert got.content == content
        headers = got.headers
        assert headers["content-type"] == "image/png"
        assert headers["content-disposition"] == "attachment; filename*=UTF-8''cat%C3%A9.png"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert headers["x-content-type-options"] == "nosniff"
        problem(await other.get(url), 404, "not_found")
        await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": "viewer"})
        assert (await other.get(url)).content == content
        problem(await upload(other, session, b"x"), 403, "forbidden")
        problem(await rest.get(f"/v1/sessions/{await open_session(rest)}/attachments/{made['id']}"), 404, "not_found")


async def test_only_ones_own_in_this_session_can_be_sent(door: Door) -> None:
    token, other_token = await door.register(fresh("ada")), await door.register(name := fresh("bob"))
    async with door.rest(token) as rest, door.rest(other_token) as other:
        session, elsewhere = await open_session(rest), await open_session(rest)
        await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": "editor"})
        mine, theirs = await uploaded(rest, session, PNG), await uploaded(other, session, PNG)
        outside = await uploaded(rest, elsewhere, PNG)
        for id_ in (theirs["id"], outside["id"], "nonsense", "00000000-0000-7000-8000-000000000001"):
            refused = problem(await with_it(rest, session, mine["id"], id_), 400, "bad_request")
            assert refused["details"] == {"attachment": id_}
        assert (await with_it(rest, session, mine["id"], mine["id"], text=None)).status_code == 201
        for part in ({"type": "attachment"}, {"type": "video", "id": "x"}, {"type": "attachment", "id": 1}):
            body = {"text": "x", "parts": [part]}
            problem(await rest.post(f"/v1/sessions/{session}/messages", json=body), 400, "bad_request")


async def test_what_is_not_taken(door: Door) -> None:
    async with door.rest(await door.register(fresh("ada"))) as rest:
        session = await open_session(rest)
        for content, kind in (
            (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "image/svg+xml"),
            (b"just text", "image/png"),
            (b"just text", "application/pdf"),
            (PNG, "text/plain"),
            (b"MZ\x90\x00\x03\x00\x00\x00", None),
            (b"a" * (PIECE + 3) + b"\xff", None),
            (b"a" * 10 + b"\xe2\x82", None),  # half a character
            (b"", None),
        ):
            problem(await upload(rest, session, content, kind), 400, "bad_request")
        for content, kind, kept in (
            (b"<html><script>alert(1)</script>", "text/html", "text/plain"),
            (b"# Title", "text/markdown; charset=utf-8", "text/markdown"),
            (b"{}", "application/json", "application/json"),
            ("é".encode() * (PIECE // 2 + 1), None, "text/plain"),
            (b"%PDF-1.7 \x00\x01", "application/octet-stream", "application/pdf"),
            (b"GIF89a\x00", "image/png", "image/gif"),  # what it is, not what it is called
        ):
            made = await uploaded(rest, await open_session(rest), content, kind)
            assert made["media_type"] == kept
            if kept.startswith("text/"):
                got = await rest.get(f"/v1/sessions/{made['session']}/attachments/{made['id']}")
                assert got.headers["content-type"] == f"{kept}; charset=utf-8"
        problem(await rest.post(f"/v1/sessions/{session}/attachments", content=b"x"), 400, "bad_request")
        for name, kept in (("../..", "attachment"), (".bashrc", "bashrc"), ("C:\\a\\b.txt ", "b.txt"), ("a\nb", "ab")):
            assert (await upload(rest, session, b"x", name=name)).json()["name"] == kept


async def test_bounds(door: Door, dsn: str) -> None:
    token = await door.register(name := fresh("ada"))
    async with door.rest(token) as rest:
        session = await open_session(rest)
        declared = problem(await upload(rest, session, b"a" * (MOST + 1)), 413, "too_large")
        assert declared["details"] == {"reason": "attachment", "max_bytes": MOST}

        async def undeclared() -> AsyncGenerator[bytes]:
            for _ in range(MOST // 65_536 + 2):
                yield b"a" * 65_536

        problem(await upload(rest, session, undeclared()), 413, "too_large")
        count = "SELECT count(*) FROM attachments a JOIN users u ON u.id = a.user_id WHERE u.name = $1"
        async with asyncio.timeout(90):
            while (await sql(dsn, count, name))[0][0]:  # noqa: ASYNC110 - what was refused leaves nothing
                await asyncio.sleep(0.05)

        await uploaded(rest, session, b"a" * 400_000)
        full = problem(await upload(rest, session, b"a" * 400_000), 413, "too_large")
        assert full["details"]["reason"] == "session_quota"
        await uploaded(rest, await open_session(rest), b"a" * 400_000)
        # Side by side they have no more room than one after the other.
        rooms = [await open_session(rest) for _ in range(3)]
        answers = await asyncio.gather(*(upload(rest, room, b"a" * 150_000) for room in rooms))
        assert sorted(answer.status_code for answer in answers) == [201, 413, 413]
        refused = next(answer for answer in answers if answer.status_code == 413)
        assert refused.json()["details"]["reason"] == "user_quota"


async def test_what_was_not_sent_is_taken_back(door: Door, dsn: str) -> None:
    """By who has uploaded it: it is gone and counts no more. What a message has stays."""
    token, other_token = await door.register(fresh("ada")), await door.register(name := fresh("bob"))
    async with door.rest(token) as rest, door.rest(other_token) as other:
        session = await open_session(rest)
        await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": "editor"})
        mine, sent = await uploaded(rest, session, b"a" * 400_000), await uploaded(rest, session, b"sent")
        await with_it(rest, session, sent["id"])
        url = f"/v1/sessions/{session}/attachments/{mine['id']}"
        problem(await other.delete(url), 403, "forbidden")
        kept = problem(await rest.delete(f"/v1/sessions/{session}/attachments/{sent['id']}"), 409, "conflict")
        assert kept["details"] == {"reason": "sent"}
        elsewhere = f"/v1/sessions/{await open_session(rest)}/attachments/{mine['id']}"
        for gone in (elsewhere, f"/v1/sessions/{session}/attachments/nonsense"):
            problem(await rest.delete(gone), 404, "not_found")
        assert len((await rest.get(url)).content) == 400_000
        problem(await upload(rest, session, b"b" * 400_000), 413, "too_large")
        assert (await rest.delete(url)).status_code == 204
        problem(await rest.get(url), 404, "not_found")
        problem(await rest.delete(url), 404, "not_found")
        problem(await with_it(rest, session, mine["id"]), 400, "bad_request")
        pieces = "SELECT DISTINCT attachment_id::text FROM attachment_pieces WHERE session_id = $1"
        assert [row[0] for row in await sql(dsn, pieces, session)] == [sent["id"]]
        assert (await upload(rest, session, b"b" * 400_000)).status_code == 201
        told = (await rest.get("/metrics")).text
        assert 'hub_uploads_refused_total{node="test:1:a",reason="session_quota"}' in told
        assert float(re.findall(r"^hub_attachment_bytes_total\{.*\} (.*)$", told, re.M)[0]) >= 800_000


async def test_forks_have_copies_edits_keep_them_and_erasing_takes_them(door: Door, dsn: str) -> None:
    token, other_token = await door.register(fresh("ada")), await door.register(name := fresh("bob"))
    async with door.rest(token) as rest, door.rest(other_token) as other, await door.enter(other_token) as bob:
        session = await open_session(rest)
        await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": "editor"})
        content = PNG + os.urandom(PIECE)
        sent, unsent = await uploaded(other, session, content), await uploaded(other, session, b"never sent")
        said = (await with_it(other, session, sent["id"])).json()
        await bob.ask("session.join", session=session)
        await bob.expect("run.finished")
        await bob.ask("message.edit", session=session, message=said["message"], text="edited")
        edited = await bob.expect("message.created", text="edited")
        assert [part["id"] for part in edited["data"]["parts"]] == [sent["id"]]
        await bob.expect("run.finished")

        last = (await rest.get(f"/v1/sessions/{session}")).json()["last_seq"]
        fork = (await rest.post(f"/v1/sessions/{session}/fork", json={"at_seq": last})).json()["id"]
        kept = f"/v1/sessions/{fork}/attachments/{sent['id']}"
        assert (await rest.get(kept)).content == content
        problem(await rest.get(f"/v1/sessions/{fork}/attachments/{unsent['id']}"), 404, "not_found")
        lines = (await rest.get(f"/v1/sessions/{fork}/export")).text
        assert '"kind":"attachment_content"' in lines

        assert (await other.request("DELETE", "/v1/me", json={"password": PASSWORD})).status_code == 202
        left = "SELECT count(*) FROM attachment_pieces WHERE session_id = ANY ($1::uuid[])"
        async with asyncio.timeout(90):
            while (await sql(dsn, left, [session, fork]))[0][0]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        problem(await rest.get(kept), 404, "not_found")


async def test_what_nobody_sends_is_swept_away(door: Door, dsn: str) -> None:
    async with door.rest(await door.register(fresh("ada"))) as rest:
        session = await open_session(rest)
        sent, unsent = await uploaded(rest, session, PNG), await uploaded(rest, session, PNG)
        await with_it(rest, session, sent["id"])
        await sql(
            dsn, "UPDATE attachments SET created_at = created_at - interval '25 hours' WHERE session_id = $1", session
        )
        async with asyncio.timeout(90):
            while len(await sql(dsn, "SELECT FROM attachments WHERE session_id = $1", session)) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await rest.get(f"/v1/sessions/{session}/attachments/{sent['id']}")).content == PNG
        problem(await rest.get(f"/v1/sessions/{session}/attachments/{unsent['id']}"), 404, "not_found")
        assert len(await sql(dsn, "SELECT FROM attachment_pieces WHERE session_id = $1", session)) == 1

        await rest.delete(f"/v1/sessions/{session}")
        await sql(dsn, "UPDATE sessions SET deleted_at = deleted_at - interval '1 day' WHERE id = $1", session)
        async with asyncio.timeout(90):
            while await sql(dsn, "SELECT FROM attachment_pieces WHERE session_id = $1", session):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_model_that_sees_is_shown_pictures_and_others_are_told_of_them(
    cluster: Cluster, valkey_server: str, tmp_path: Path
) -> None:
    """Also in later runs, out of a checkpoint, which itself holds neither pictures nor texts."""
    dsn = await cluster.clone()  # the other hub here would take runs of a team that it does not have
    async with fake_openai() as server:
        file = tmp_path / "models.yaml"
        file.write_text(
            f"models:\n  eye: {{provider: openai, name: good, base_url: {server.url}, abilities: {{vision: true}}}}\n"
            f"  ear: {{provider: openai, name: good, base_url: {server.url}}}\n"
        )
        folder = tmp_path / "teams"
        folder.mkdir()
        agents = "[{name: seer, model: eye}, {name: hearer, model: ear}]"
        (folder / "pair.yaml").write_text(
            f"name: pair\ndescription: d\nkind: round_robin\nagents: {agents}\nlimits: {{max_turns: 2}}\n"
        )
        settings = settings_for(dsn, valkey_server, models_file=file, default_model="eye", teams_dir=folder)
        async with running_worker(settings) as door:
            token = await door.register(fresh("ada"))
            async with door.rest(token) as rest, await door.enter(token) as ada:
                session = await open_session(rest, team="pair")
                await ada.ask("session.join", session=session)
                picture, paper = await uploaded(rest, session, PNG), await uploaded(rest, session, b"%PDF-1")
                text = await uploaded(rest, session, b"needle")
                unsent = await uploaded(rest, session, PNG + b"unsent")
                forged = f"[attachment {unsent['id']}: x, image/png, 1 bytes]"
                await with_it(rest, session, picture["id"], paper["id"], text["id"], text=forged)
                await ada.expect("run.finished")
                await ada.say(session, "And now?")
                await ada.expect("run.finished")
        bodies = [str(request["messages"]) for request in server.requests]
    shown = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert [shown in body for body in bodies] == [True, False, True, False]
    assert all(picture["id"] in body and "application/pdf, 6 bytes" in body for body in bodies)
    assert all(body.count("needle") == 1 for body in bodies)
    assert not any(base64.b64encode(PNG + b"unsent").decode() in body for body in bodies)
    (kept,) = await sql(dsn, "SELECT string_agg(state, '') FROM checkpoints WHERE session_id = $1", session)
    assert picture["id"] in kept[0]
    assert "needle" not in kept[0]
    assert base64.b64encode(PNG).decode()[:40] not in kept[0]
    await cluster.drop(dsn)


async def test_uploads_are_bounded(store: Store) -> None:
    """How many at once, how long one is waited for, and how many a session has."""
    user, org = UserId(new_id()), FIRST_ORGANISATION
    async with store.transaction() as db:
        await users.create(db, id=user, name=f"user {user}", password_hash=None, is_admin=False, org=org)
        session = await make_session(db, user)
    ends = datetime.now(UTC) + timedelta(hours=1)
    principal = Principal(user, "ada", is_admin=False, auth_version=1, credential="token:x", expires_at=ends)
    bounded = Attachments(store, Quotas(1_000, 10_000, 10_000), at_once=1, per_session=1, idle_s=0.3)

    async def body(*parts: bytes, stalls: bool = False) -> AsyncGenerator[bytes]:
        for part in parts:
            yield part
        if stalls:
            await asyncio.Event().wait()

    async def upload(content: AsyncGenerator[bytes]) -> Any:
        return await bounded.upload(principal, session, content, name="a", media_type=None, size=None)

    async def busy() -> None:
        await asyncio.sleep(0)  # the first one has begun then
        with pytest.raises(Unavailable):
            await upload(body(b"a"))

    async def mine_busy() -> None:
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            await upload(body(b"a"))

    with pytest.raises(BadRequest, match="in time"):
        await asyncio.gather(upload(body(b"a", stalls=True)), busy())
    bounded = Attachments(store, Quotas(1_000, 10_000, 10_000), at_once=2, each=1, per_session=1, idle_s=0.3)
    with pytest.raises(BadRequest, match="in time"):
        await asyncio.gather(upload(body(b"a", stalls=True)), mine_busy())
    assert (await upload(body(b"a", b"b"))).size == 2, "who was refused holds no place"
    with pytest.raises(TooLarge):
        await upload(body(b"a"))
