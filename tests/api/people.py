"""REST as somebody: small steps that many tests of the API begin with."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.driver import Door

_numbers = itertools.count(1)

Json = dict[str, Any]


def fresh(name: str) -> str:
    """A name nobody has yet: the tests of a module share one hub."""
    return f"{name}-{next(_numbers)}"


@asynccontextmanager
async def somebody(hub: Door, name: str | None = None) -> AsyncGenerator[httpx2.AsyncClient]:
    """A REST client of a new user."""
    token = await hub.register(name or fresh("user"))
    async with hub.rest(token) as rest:
        yield rest


async def open_session(rest: httpx2.AsyncClient, **fields: Any) -> str:
    """A new session with the scripted team; gives its id."""
    answer = await rest.post("/v1/sessions", json={"team": "scripted", **fields})
    assert answer.status_code == 201, answer.text
    id_: str = answer.json()["id"]
    return id_


def problem(answer: httpx2.Response, status: int, code: str) -> Json:
    """The problem in an answer, checked for its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    body: Json = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["type"] == f"urn:agent-hub:error:{code}"
    assert body["request"] == answer.headers["x-request-id"]
    return body
