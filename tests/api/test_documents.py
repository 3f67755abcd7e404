"""What the hub says about itself: OpenAPI, AsyncAPI, the docs page and the chat page."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import anyio.to_thread
import httpx2
import jsonschema
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from hub.api.app import STATIC
from hub.api.asyncapi import describe
from hub.api.routes import web
from hub.engine.teams import form
from hub.protocol.commands import AnyCommand
from hub.protocol.events import AnyEvent
from tests.api.people import Json, open_session, somebody
from tests.driver import Door

PUBLIC = {
    "/v1/auth/register",
    "/v1/auth/token",
    "/v1/auth/revoke",
    "/v1/auth/methods",
    "/v1/auth/oidc",
    "/v1/auth/oidc/callback",
    "/v1/auth/oidc/token",
    "/.well-known/jwks.json",
    "/healthz",
    "/readyz",
    "/metrics",
}


@pytest.fixture(scope="module")
async def openapi(hub: Door) -> Json:
    async with hub.rest() as rest:
        # On a busy machine the first who asks may be told to come again: it is written then.
        while (answer := await rest.get("/openapi.json")).status_code == 503:
            pass
        document: Json = answer.json()
        return document


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(document: Json, reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


# ---- OpenAPI


def test_every_error_is_documented_as_a_problem(openapi: Json) -> None:
    for method, path, operation in operations(openapi):
        errors = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
        assert {"500", "503"} <= set(errors), (method, path)
        assert "422" not in errors, (method, path)
        assert ("401" in errors) or path in PUBLIC, (method, path)
        if "{" in path:
            assert "404" in errors, (method, path)
        if operation.get("parameters") and any(p["in"] == "query" for p in operation["parameters"]):
            assert "400" in errors, (method, path)
        if "requestBody" in operation:
            assert {"400", "413"} <= set(errors), (method, path)
        for status, answer in errors.items():
            assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_every_call_but_the_public_ones_asks_for_a_credential(openapi: Json) -> None:
    for method, path, operation in operations(openapi):
        assert ("security" in operation) == (path not in PUBLIC), (method, path)
    assert set(openapi["components"]["securitySchemes"]) == {"signIn", "bearer"}


def test_every_operation_can_be_named_and_found(openapi: Json) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(openapi)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(openapi):
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)
        assert operation["tags"], (method, path)
    for reference in references(openapi):
        assert resolve(openapi, reference)
    for _, path, operation in operations(openapi):
        for answer in operation["responses"].values():
            assert {link["operationId"] for link in answer.get("links", {}).values()} <= set(ids), path


async def test_what_the_protocol_promises_is_there(openapi: Json) -> None:
    promised = """
        POST /v1/auth/register, POST /v1/auth/token, POST /v1/auth/revoke, POST /v1/auth/tickets, GET /v1/me,
        POST /v1/api-keys, GET /v1/api-keys, DELETE /v1/api-keys/{id}, POST /v1/sessions, GET /v1/sessions,
        GET /v1/sessions/{id}, PATCH /v1/sessions/{id}, DELETE /v1/sessions/{id},
        PUT /v1/sessions/{id}/members/{user}, DELETE /v1/sessions/{id}/members/{user},
        POST /v1/sessions/{id}/messages, GET /v1/sessions/{id}/events, GET /v1/sessions/{id}/events/stream,
        GET /v1/sessions/{id}/transcript, GET /v1/search, GET /v1/teams, GET /v1/runs/{id}, POST /v1/runs/{id}/cancel,
        GET /healthz, GET /readyz, GET /metrics"""
    assert set(re.split(r",\s+", promised.strip())) <= {f"{m} {p}" for m, p, _ in operations(openapi)}


async def test_answers_fit_their_schemas(hub: Door, openapi: Json) -> None:
    def check(schema: Json, value: object) -> None:
        Draft202012Validator({**schema, "components": openapi["components"]}).validate(value)

    def answer(method: str, path: str, status: str = "200") -> Json:
        schema: Json = openapi["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
        return schema

    async with somebody(hub) as rest:
        session = await open_session(rest)
        await rest.post(f"/v1/sessions/{session}/messages", json={"text": "/script turns=1 tokens=1"})
        for path in ("/v1/me", "/v1/api-keys", "/v1/sessions", "/v1/teams"):
            check(answer("get", path), (await rest.get(path)).json())
        for path in ("", "/events", "/transcript", "/members"):
            check(answer("get", f"/v1/sessions/{{id}}{path}"), (await rest.get(f"/v1/sessions/{session}{path}")).json())
        failed = await rest.get("/v1/sessions/x")
        check({"$ref": "#/components/schemas/Problem"}, failed.json())
        with pytest.raises(jsonschema.ValidationError):
            check(answer("get", "/v1/me"), {"id": 1})


async def test_the_form_of_a_team_is_published(hub: Door) -> None:
    async with hub.rest() as rest:
        served = await rest.get("/v1/teams/schema.json")
    assert served.headers["content-type"] == "application/schema+json"
    assert served.json() == json.loads(json.dumps(form.schema()))


# ---- AsyncAPI


async def test_asyncapi_is_served_and_holds_every_message(hub: Door) -> None:
    async with hub.rest() as rest:
        served = (await rest.get("/asyncapi.json")).json()
    document = json.loads(json.dumps(describe(title="Agent Hub", version=served["info"]["version"])))
    assert served == document
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["hub"]["address"] == "/v1/ws"
    commands = {m.model_fields["type"].default for m in get_args(AnyCommand)}
    events = {m.model_fields["type"].default for m in get_args(AnyEvent)}
    names = {
        action: {resolve(document, resolve(document, m["$ref"])["$ref"])["name"] for m in operation["messages"]}
        for action, operation in document["operations"].items()
    }
    assert names == {"commands": commands, "frames": events | {"hello", "reply"}}
    for reference in references(document):
        assert resolve(document, reference)


def test_asyncapi_payloads_are_the_protocols_own() -> None:
    document = describe(title="t", version="1")
    send = Draft202012Validator({"$ref": "#/components/schemas/MessageSend", "components": document["components"]})
    send.validate({"id": "1", "type": "message.send", "session": "s", "client_id": "c", "text": "hi"})
    for wrong in ({"id": "1", "type": "message.send"}, {"id": "1", "session": "s", "client_id": "c", "unknown": 1}):
        with pytest.raises(jsonschema.ValidationError):
            send.validate(wrong)


# ---- pages


async def test_docs_need_no_other_host(hub: Door) -> None:
    async with hub.rest() as rest:
        page = await rest.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "http" not in policy
        sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert all(source.startswith(("/", "data:,")) for source in sources)
        for source in sources:
            if source.startswith("/"):
                found = await rest.get(source)
                assert found.status_code == 200, source
        assert not re.search(r"<script>|onload=|onclick=", page.text)


def test_the_vendored_assets_have_their_licence() -> None:
    assert "Apache License" in (STATIC / "swagger" / "LICENSE").read_text()


@pytest.fixture
def page(tmp_path: Path) -> FastAPI:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>chat</title>")
    (tmp_path / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "assets" / "index-abc123.js").write_text("export {};")
    app = FastAPI()
    app.include_router(web.router(tmp_path))
    return app


async def test_the_page_is_served_so_that_browsers_keep_the_right_things(page: FastAPI) -> None:
    transport = httpx2.ASGITransport(page)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as rest:
        index = await rest.get("/")
        assert (index.status_code, index.headers["cache-control"]) == (200, "no-cache")
        assert "chat" in index.text
        again = await rest.get("/", headers={"If-None-Match": index.headers["etag"]})
        assert again.status_code == 304
        asset = await rest.get("/assets/index-abc123.js")
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-type"].startswith("text/javascript")
        assert (await rest.get("/favicon.svg")).headers["cache-control"] == "no-cache"
        missing = await rest.get("/assets/nothing.js")
        assert missing.status_code == 404
        assert "immutable" not in missing.headers.get("cache-control", "")
        for path in ("/assets/%2e%2e/index.html", "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets/", "/index.html"):
            assert (await rest.get(path)).status_code in (404, 405)


async def test_the_page_is_small_on_the_wire_and_has_heads(page: FastAPI) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(page), base_url="http://hub") as rest:
        packed = await rest.get("/assets/index-abc123.js", headers={"Accept-Encoding": "br, gzip"})
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "accept-encoding")
        assert packed.text == "export {};"
        plain = await rest.get("/assets/index-abc123.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.text == packed.text
        head = await rest.head("/")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_the_page_needs_no_thread(page: FastAPI) -> None:
    """Threads hash passwords and read files: a page that waited for one could be left without its style sheet."""
    threads = anyio.to_thread.current_default_thread_limiter()
    holders = [object() for _ in range(int(threads.total_tokens))]
    for holder in holders:
        threads.acquire_on_behalf_of_nowait(holder)
    try:
        transport = httpx2.ASGITransport(page)
        async with asyncio.timeout(10), httpx2.AsyncClient(transport=transport, base_url="http://hub") as rest:
            for path in ("/", "/favicon.svg", "/assets/index-abc123.js"):
                assert (await rest.get(path)).status_code == 200
    finally:
        for holder in holders:
            threads.release_on_behalf_of(holder)


async def test_without_a_bundle_there_is_no_page(tmp_path: Path) -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(web.router(tmp_path / "nothing"))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as rest:
        assert (await rest.get("/")).status_code == 404
