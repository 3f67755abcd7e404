"""Every route and command that changes something leaves its trace, or says here why it leaves none."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from hub.auth.policy import COMMANDS, ROUTES
from tests.api.people import Json, fresh, open_session
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door, Person
from tests.provider import OpenIdProvider, openid_provider

IN_THE_LOG = "what is said and decided stands in the session's log, with who did it"
OF_A_RUN = "it is about the work of a run, whose events stand in the session's log, and gives nobody a right"
PASSING = "nothing is stored"
UNTRACED = {
    "POST /v1/sessions/{id}/attachments": "only a message shows it to anybody, and stands in the session's log",
    "DELETE /v1/sessions/{id}/attachments/{attachment}": "only its uploader has seen it, and no message shows it",
    "POST /v1/auth/tickets": "a ticket lives for 30 s, and stands for a sign-in that is in the trail",
    "POST /v1/sessions/{id}/messages": IN_THE_LOG,
    "PATCH /v1/sessions/{id}/messages/{message}": IN_THE_LOG,
    "POST /v1/sessions/{id}/messages/{message}/regenerate": IN_THE_LOG,
    "POST /v1/sessions/{id}/inputs/{request}": IN_THE_LOG,
    "POST /v1/runs/{id}/cancel": OF_A_RUN,
    "auth": PASSING,
    "ping": PASSING,
    "session.join": PASSING,
    "session.leave": PASSING,
    "presence.set": PASSING,
    "message.send": IN_THE_LOG,
    "message.edit": IN_THE_LOG,
    "message.regenerate": IN_THE_LOG,
    "input.respond": IN_THE_LOG,
    "run.cancel": OF_A_RUN,
    "run.pause": OF_A_RUN,
    "run.resume": OF_A_RUN,
    "agent.register": PASSING,
    "turn.delta": PASSING,
    "turn.complete": IN_THE_LOG,
    "turn.decline": OF_A_RUN,
}


@dataclass
class Stage:
    """Somebody with everything, somebody else, and an administrator."""

    door: Door
    admin: httpx2.AsyncClient
    owner: httpx2.AsyncClient
    guest: httpx2.AsyncClient
    socket: Person
    provider: OpenIdProvider
    ids: dict[str, str] = field(default_factory=dict)

    async def trail(self, after: int) -> list[Json]:
        answer = await self.admin.get("/v1/admin/audit", params={"after": after, "limit": 1000})
        return [json.loads(line) for line in answer.text.splitlines()]

    async def throwaway(self) -> tuple[str, httpx2.AsyncClient]:
        """Somebody whose credentials may end: their name, and a client."""
        name = fresh("thrown")
        return name, self.door.rest(await self.door.register(name))


Act = Callable[[Stage], Awaitable[Any]]


def call(who: str, method: str, path: str, body: Json | None = None) -> Act:
    """One request, with ids put in."""

    async def act(stage: Stage) -> httpx2.Response:
        client: httpx2.AsyncClient = getattr(stage, who)
        filled = {k: v.format(**stage.ids) if isinstance(v, str) else v for k, v in (body or {}).items()}
        return await client.request(method, path.format(**stage.ids), json=filled if body is not None else None)

    return act


def thrown(method: str, path: str, body: Json | None = None, *, by_admin: bool = False) -> Act:
    """One request by, or about, somebody who is not needed any more."""

    async def act(stage: Stage) -> httpx2.Response:
        name, rest = await stage.throwaway()
        async with rest:
            client = stage.admin if by_admin else rest
            return await client.request(method, path.format(name=name), json=body)

    return act


async def register(stage: Stage) -> httpx2.Response:
    return await stage.owner.post("/v1/auth/register", json={"name": fresh("new"), "password": PASSWORD})


async def sign_in(stage: Stage) -> httpx2.Response:
    name, rest = await stage.throwaway()
    async with rest:
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        return await rest.post("/v1/auth/token", data=form)


async def sign_in_by_provider(stage: Stage) -> httpx2.Response:
    async with stage.door.rest() as rest:
        begun = await rest.get("/v1/auth/oidc")
        back = await rest.get(stage.provider.authorise(urlsplit(begun.headers["location"]).query))
        code = back.headers["location"].partition("=")[2]
        return await rest.post("/v1/auth/oidc/token", json={"code": code})


async def end_sign_in(stage: Stage) -> httpx2.Response:
    _, rest = await stage.throwaway()
    async with rest:
        (one,) = (await rest.get("/v1/auth/sign-ins")).json()["items"]
        return await rest.delete(f"/v1/auth/sign-ins/{one['id']}")


async def revoke_foreign_key(stage: Stage) -> httpx2.Response:
    key = (await stage.owner.post("/v1/api-keys", json={"name": "other"})).json()["id"]
    return await stage.admin.delete(f"/v1/admin/api-keys/{key}")


async def end_invite(stage: Stage) -> httpx2.Response:
    made = (await stage.owner.post(f"/v1/sessions/{stage.ids['session']}/invites", json={"role": "viewer"})).json()
    return await stage.owner.delete(f"/v1/sessions/{stage.ids['session']}/invites/{made['id']}")


async def accept(stage: Stage) -> httpx2.Response:
    made = (await stage.owner.post(f"/v1/sessions/{stage.ids['session']}/invites", json={"role": "viewer"})).json()
    return await stage.guest.post("/v1/invites/accept", json={"token": made["token"]})


async def delete_key(stage: Stage) -> httpx2.Response:
    key = (await stage.owner.post("/v1/api-keys", json={"name": "short"})).json()["id"]
    return await stage.owner.delete(f"/v1/api-keys/{key}")


PASSWORDS = {"password": PASSWORD, "new_password": PASSWORD}
TEAM: Json = {"name": "traced", "description": "d", "kind": "round_robin", "agents": [{"name": "solo"}]}
LIMIT = {"quantity": "turns", "limit": 1000}
TRACED: dict[str, tuple[str, Act]] = {
    "POST /v1/auth/register": ("user.create", register),
    "POST /v1/auth/token": ("user.sign_in", sign_in),
    "POST /v1/auth/oidc/token": ("user.sign_in", sign_in_by_provider),
    "POST /v1/auth/revoke": ("user.sign_out", thrown("POST", "/v1/auth/revoke")),
    "POST /v1/auth/password": ("user.password", thrown("POST", "/v1/auth/password", PASSWORDS)),
    "POST /v1/auth/signout-all": ("user.sign_out_everywhere", thrown("POST", "/v1/auth/signout-all", {})),
    "DELETE /v1/auth/sign-ins/{id}": ("user.sign_out", end_sign_in),
    "DELETE /v1/me": ("user.erase", thrown("DELETE", "/v1/me", {"password": PASSWORD})),
    "POST /v1/api-keys": ("key.create", call("owner", "POST", "/v1/api-keys", {"name": "bot"})),
    "DELETE /v1/api-keys/{id}": ("key.revoke", delete_key),
    "POST /v1/organisations": ("organisation.create", call("admin", "POST", "/v1/organisations", {"name": "traced"})),
    "PATCH /v1/organisations/{id}": (
        "organisation.update",
        call("admin", "PATCH", "/v1/organisations/traced", {"guests": True}),
    ),
    "PUT /v1/organisations/{id}/keep": (
        "organisation.keep",
        call("admin", "PUT", "/v1/organisations/traced/keep", {"sessions_s": None, "deleted_s": 86_400}),
    ),
    "PUT /v1/organisations/{id}/members/{user}": (
        "organisation.member.put",
        call("admin", "PUT", "/v1/organisations/traced/members/{guest}", {"role": "member"}),
    ),
    "DELETE /v1/organisations/{id}/members/{user}": (
        "organisation.member.remove",
        call("admin", "DELETE", "/v1/organisations/traced/members/{guest}"),
    ),
    "POST /v1/sessions": ("session.create", call("owner", "POST", "/v1/sessions", {"team": "scripted"})),
    "PATCH /v1/sessions/{id}": ("session.update", call("owner", "PATCH", "/v1/sessions/{session}", {"title": "x"})),
    "POST /v1/sessions/{id}/invites": (
        "invite.create",
        call("owner", "POST", "/v1/sessions/{session}/invites", {"role": "viewer"}),
    ),
    "DELETE /v1/sessions/{id}/invites/{invite}": ("invite.revoke", end_invite),
    "POST /v1/invites/accept": ("invite.accept", accept),
    "PUT /v1/sessions/{id}/members/{user}": (
        "member.put",
        call("owner", "PUT", "/v1/sessions/{session}/members/{guest}", {"role": "editor"}),
    ),
    "DELETE /v1/sessions/{id}/members/{user}": (
        "member.remove",
        call("owner", "DELETE", "/v1/sessions/{session}/members/{guest}"),
    ),
    "POST /v1/sessions/{id}/fork": (
        "session.fork",
        call("owner", "POST", "/v1/sessions/{session}/fork", {"at_seq": 1}),
    ),
    "PUT /v1/sessions/{id}/budgets": (
        "budget.set",
        call("owner", "PUT", "/v1/sessions/{session}/budgets", {"scope": "run", **LIMIT}),
    ),
    "PUT /v1/admin/users/{id}/budgets": ("budget.set", call("admin", "PUT", "/v1/admin/users/{guest}/budgets", LIMIT)),
    "PUT /v1/admin/organisations/{id}/budgets": (
        "budget.set",
        call("admin", "PUT", "/v1/admin/organisations/traced/budgets", LIMIT),
    ),
    "DELETE /v1/admin/organisations/{id}": (
        "organisation.erase",
        call("admin", "DELETE", "/v1/admin/organisations/traced"),
    ),
    "DELETE /v1/sessions/{id}": ("session.delete", call("owner", "DELETE", "/v1/sessions/{session}")),
    "DELETE /v1/admin/users/{id}": ("user.erase", thrown("DELETE", "/v1/admin/users/{name}", by_admin=True)),
    "POST /v1/admin/users/{id}/suspend": (
        "user.suspend",
        thrown("POST", "/v1/admin/users/{name}/suspend", by_admin=True),
    ),
    "POST /v1/admin/users/{id}/restore": (
        "user.restore",
        thrown("POST", "/v1/admin/users/{name}/restore", by_admin=True),
    ),
    "POST /v1/admin/users/{id}/signout": (
        "user.sign_out_everywhere",
        thrown("POST", "/v1/admin/users/{name}/signout", {}, by_admin=True),
    ),
    "DELETE /v1/admin/api-keys/{id}": ("key.revoke", revoke_foreign_key),
    "POST /v1/teams": ("team.import", call("admin", "POST", "/v1/teams", TEAM)),
    "PUT /v1/teams/{name}": ("team.import", call("admin", "PUT", "/v1/teams/traced", TEAM | {"description": "e"})),
    "DELETE /v1/teams/{name}": ("team.archive", call("admin", "DELETE", "/v1/teams/traced")),
    "session.create": ("session.create", lambda stage: stage.socket.ask("session.create", team="scripted")),
    "session.fork": (
        "session.fork",
        lambda stage: stage.socket.ask("session.fork", session=stage.ids["other"], at_seq=1),
    ),
}
"""What each of them leaves, and a way to do it."""
NO_ADDRESS = {"user.erase"}  # it would be taken away at once
NOBODY_YET = {"user.create"}


@pytest.fixture(scope="module")
async def stage(cluster: Cluster, valkey_server: str) -> AsyncIterator[Stage]:
    dsn = await cluster.clone()
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(openid_provider())
        settings = settings_for(dsn, valkey_server, **provider.settings)
        door = await stack.enter_async_context(running_worker(settings))
        names = {who: fresh(who) for who in ("admin", "owner", "guest")}
        tokens = {who: await door.register(name) for who, name in names.items()}
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE users SET is_admin = true WHERE name = $1", names["admin"])
        await connection.close()
        admin, owner, guest = [await stack.enter_async_context(door.rest(tokens[who])) for who in names]
        socket = await stack.enter_async_context(await door.enter(tokens["owner"]))
        made = Stage(door, admin, owner, guest, socket, provider, {"guest": names["guest"]})
        made.ids |= {"session": await open_session(owner), "other": await open_session(owner)}
        yield made
    await cluster.drop(dsn)


def test_whatever_changes_something_is_traced_or_excused() -> None:
    changing = {route for route in ROUTES if not route.startswith("GET ")} | set(COMMANDS)
    assert set(TRACED) | set(UNTRACED) == changing
    assert not set(TRACED) & set(UNTRACED)
    assert all(UNTRACED.values())


async def test_each_leaves_who_what_whom_from_where_and_when(stage: Stage) -> None:
    wrong = []
    last = (await stage.trail(0))[-1]["id"]
    for name, (action, act) in TRACED.items():
        done = await act(stage)
        assert not isinstance(done, httpx2.Response) or done.is_success, (name, done.text)
        entries = await stage.trail(last)
        last = entries[-1]["id"] if entries else last
        found = [entry for entry in entries if entry["action"] == action]
        if not found:
            wrong.append(f"{name} leaves no {action}")
        for entry in found:
            noun, _, id_ = entry["object"].partition(":")
            if not noun or not id_ or not entry["at"]:
                wrong.append(f"{name}: {entry}")
            if entry["address"] != "127.0.0.1" and action not in NO_ADDRESS:
                wrong.append(f"{name} leaves no address")
            if entry["actor"] is None and action not in NOBODY_YET:
                wrong.append(f"{name} does not tell who")
            if PASSWORD in json.dumps(entry):
                wrong.append(f"{name} tells a secret")
    assert not wrong, "\n".join(wrong)
