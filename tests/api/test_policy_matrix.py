"""Every command and every route, asked by everybody about everything: the answer is the one of the policy table.

The tables of `hub.auth.policy` are enumerated, the requests are made up from the schemas: a route or command that is
added gets its rows here by itself, or makes a test fail that says what is missing.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import quote

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from hub.api.app import include
from hub.auth.policy import COMMANDS, ROUTES, Action, Gate, Rule, Scope, needed_role, needed_scopes
from hub.domain.session import Role
from hub.protocol.commands import AnyCommand
from tests.api.people import Json, fresh, open_session
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door, Person, Refused

COMMAND_MODELS: dict[str, type[BaseModel]] = {m.model_fields["type"].default: m for m in get_args(AnyCommand)}

REFUSALS = {"unauthenticated", "forbidden", "not_found"}
# What an allowed caller may be told because there is nothing to do it to: nothing is running, asked or joined here.
NOTHING_THERE = {"run.cancel", "run.pause", "run.resume", "input.respond", "session.leave"} | {
    "POST /v1/sessions/{id}/inputs/{request}",
    "DELETE /v1/sessions/{id}/invites/{invite}",
    "POST /v1/invites/accept",
    "GET /v1/sessions/{id}/calls/{call}",
    *("GET /v1/sessions/{id}/attachments/{attachment}", "DELETE /v1/sessions/{id}/attachments/{attachment}"),
    *("GET /v1/auth/oidc", "GET /v1/auth/oidc/callback", "POST /v1/auth/oidc/token"),  # there is no provider
    *("GET /v1/teams/{name}", "GET /v1/teams/{name}/versions", "DELETE /v1/teams/{name}"),
    *("turn.delta", "turn.complete", "turn.decline"),
}
WRONG_IDS = {"unknown": str(uuid.uuid4()), "malformed": "x", "odd": "' OR 1=1 --%00"}

ALSO_NEEDED = {"message.send": {"text"}}  # by the model's own rules
NOT_YET = "not supported yet"

# What `{id}` stands for, by the beginning of the path.
THINGS = {
    "/v1/sessions/": "session",
    "/v1/runs/": "run",
    "/v1/organisations/": "organisation",
    "/v1/api-keys/": "key",
    "/v1/auth/sign-ins/": "sign_in",
    "/v1/admin/users/": "user",
    "/v1/admin/organisations/": "organisation",
    "/v1/admin/api-keys/": "key",
}


def team_file(name: str) -> Json:
    """A team's file; JSON is YAML."""
    return {"name": name, "description": "d", "kind": "round_robin", "agents": [{"name": "solo"}]}


# A valid body of each route that needs one.
BODIES: dict[str, Any] = {
    "POST /v1/auth/register": lambda: {"name": fresh("matrix"), "password": PASSWORD},
    "POST /v1/auth/token": lambda: {"grant_type": "refresh_token", "refresh_token": "no such token"},
    "POST /v1/auth/oidc/token": lambda: {"code": "no such code"},
    "POST /v1/auth/revoke": lambda: {"token": "no such token"},  # without one the caller would be signed out
    "POST /v1/auth/password": lambda: {"password": PASSWORD, "new_password": PASSWORD},
    "POST /v1/auth/signout-all": lambda: {},
    "DELETE /v1/me": lambda: {"password": 1},  # refused: with a good one there would be nobody to go on with
    "POST /v1/admin/users/{id}/signout": lambda: {},
    "POST /v1/api-keys": lambda: {"name": "matrix", "scopes": ["admin"]},
    "POST /v1/organisations": lambda: {"name": fresh("org")},
    "PATCH /v1/organisations/{id}": lambda: {"guests": True},
    "PUT /v1/organisations/{id}/keep": lambda: {"sessions_s": None, "deleted_s": 60},
    "PUT /v1/organisations/{id}/members/{user}": lambda: {"role": "member"},
    "POST /v1/sessions": lambda: {"team": "scripted"},
    "PATCH /v1/sessions/{id}": lambda: {"title": "matrix"},
    "PUT /v1/sessions/{id}/members/{user}": lambda: {"role": "viewer"},
    "POST /v1/sessions/{id}/invites": lambda: {"role": "viewer"},
    "POST /v1/invites/accept": lambda: {"token": "no such token"},
    "POST /v1/sessions/{id}/inputs/{request}": lambda: {"decision": "approve"},
    "PUT /v1/sessions/{id}/budgets": lambda: {"scope": "run", "quantity": "tokens", "limit": 1_000_000},
    "PUT /v1/admin/users/{id}/budgets": lambda: {"quantity": "cost", "limit": 5},
    "PUT /v1/admin/organisations/{id}/budgets": lambda: {"quantity": "turns", "limit": None},
    "POST /v1/sessions/{id}/fork": lambda: {"at_seq": 1},
    "POST /v1/sessions/{id}/messages": lambda: {"text": "/script turns=1 tokens=1"},
    "PATCH /v1/sessions/{id}/messages/{message}": lambda: {"text": "/script turns=1 tokens=1 seed=2"},
    "POST /v1/sessions/{id}/attachments": lambda: {"content": "what is in the file"},
    "POST /v1/teams": lambda: team_file(fresh("matrix")),
    "PUT /v1/teams/{name}": lambda: team_file("matrix"),
}
FORMS = {"POST /v1/auth/token", "POST /v1/auth/revoke"}
ENDS_CREDENTIALS = {"POST /v1/auth/password", "POST /v1/auth/signout-all"}
# Refused for what is in it, not for who asks.
WRONG_CONTENT = {"POST /v1/auth/token"}


@dataclass(frozen=True)
class Caller:
    """Who asks: a role in the session (None: a stranger) and what the credential may do (None: a person)."""

    name: str
    role: Role | None
    scopes: frozenset[str] | None = None
    is_admin: bool = False
    known: bool = True

    @property
    def person(self) -> str:
        """Whose credential it is."""
        return {"key": "owner"}.get(self.name.split(" ")[0], self.name.split(" ")[0])

    def may(self, rule: Rule, about: str | None) -> str:
        """What the table says: `allowed`, or the code of the refusal. `about` is None where no thing is named, `own`
        where it is the owner's."""
        if not self.known:
            return "allowed" if rule is Gate.PUBLIC else "unauthenticated"
        match rule:
            case Gate.PUBLIC | Gate.KNOWN:
                return "allowed"
            case Gate.ACCOUNT:
                if not self._has(Scope.ADMIN):
                    return "forbidden"
                theirs = about is None or (about == "own" and self.role is Role.OWNER)
                return "allowed" if theirs else "not_found"
            case Gate.ADMIN:
                if not self.is_admin or not self._has(Scope.ADMIN):
                    return "forbidden"
                return "allowed" if about in (None, "own", "foreign") else "not_found"
            case Action():
                if not any(map(self._has, needed_scopes(rule))):
                    return "forbidden"
                needed = needed_role(rule)
                if needed is None or about is None:
                    return "allowed"
                if self.role is None or about != "own":
                    return "not_found"
                return "allowed" if self.role.includes(needed) else "forbidden"

    def _has(self, scope: Scope) -> bool:
        return self.scopes is None or scope in self.scopes


PARTS = 4  # of the routes: they are asked side by side

CALLERS = [
    Caller("nobody", None, known=False),
    Caller("stranger", None),
    Caller("admin", None, is_admin=True),  # an administrator is a stranger in other people's sessions
    Caller(f"admin with {Scope.ADMIN}", None, frozenset({Scope.ADMIN}), is_admin=True),
    Caller(f"admin with {Scope.RUNS_CONTROL}", None, frozenset({Scope.RUNS_CONTROL}), is_admin=True),
    *(Caller(f"key with {scope}", Role.OWNER, frozenset({scope})) for scope in Scope),
    Caller("viewer", Role.VIEWER),
    Caller("approver", Role.APPROVER),
    Caller("editor", Role.EDITOR),
    Caller("owner", Role.OWNER),  # last: what it does may be the end of the session
]


class World:
    """People with a credential each, and what they ask about. `foreign` are things of somebody nobody asks as."""

    def __init__(self, door: Door, document: Json) -> None:
        self.door = door
        self.document = document
        self.tokens: dict[str, str] = {}
        self.names = {
            who: fresh(who)
            for who in ("owner", "editor", "approver", "viewer", "spare", "stranger", "admin", "outsider")
        }
        self.foreign: dict[str, str] = {}
        self.dsn = ""

    async def populate(self, dsn: str) -> None:
        """Register everybody, and give them their keys."""
        self.dsn = dsn
        for who, name in self.names.items():
            self.tokens[who] = await self.door.register(name)
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE users SET is_admin = true WHERE name = $1", self.names["admin"])
        await connection.close()
        for who, label in (("owner", "key"), ("admin", "admin")):
            async with self.door.rest(self.tokens[who]) as rest:
                for scope in Scope:
                    made = await rest.post("/v1/api-keys", json={"name": "matrix", "scopes": [scope.value]})
                    assert made.status_code == 201, made.text
                    self.tokens[f"{label} with {scope}"] = made.json()["key"]
        self.foreign = await self.things("outsider") | {"sign_in": await self.sign_in_of("outsider")}

    async def sign_in_again(self, who: str) -> str:
        """A new token for somebody whose old one was ended; as a header."""
        self.tokens[who] = await self.door.sign_in(self.names[who])
        return f"Bearer {self.tokens[who]}"

    async def session(self) -> str:
        """A fresh session of the owner, with a member in each other role and one that nobody asks as."""
        async with self.door.rest(self.tokens["owner"]) as rest:
            session = await open_session(rest)
            for who, role in (
                ("viewer", "viewer"),
                ("approver", "approver"),
                ("editor", "editor"),
                ("spare", "viewer"),
            ):
                put = await rest.put(f"/v1/sessions/{session}/members/{self.names[who]}", json={"role": role})
                assert put.status_code == 200, put.text
            return session

    async def things(self, who: str) -> dict[str, str]:
        """A session, message, finished run and API key of somebody."""
        async with self.door.rest(self.tokens[who]) as rest:
            session = await self.session() if who == "owner" else await open_session(rest)
            made = (await rest.post("/v1/api-keys", json={"name": "matrix"})).json()
        async with await self.door.enter(self.tokens[who]) as person:
            await person.ask("session.join", session=session)
            said = await person.say(session, "/script turns=1 tokens=1")
            await person.until("run.finished")
        # The user is one whom nobody here asks as, or needs.
        return {
            "organisation": await self.organisation(who),
            "session": session,
            "run": said["run"],
            "message": said["message"],
            "key": made["id"],
            "user": await self.user(),
        }

    async def organisation(self, who: str) -> str:
        """An organisation that somebody owns, with a member whom nobody here asks as; gives the id."""
        connection = await asyncpg.connect(self.dsn)
        id_ = await connection.fetchval(
            """
            WITH made AS (
                INSERT INTO organisations (id, name, name_key)
                SELECT $1::uuid, $1::uuid::text, $1::uuid::text RETURNING id)
            INSERT INTO organisation_members (org_id, user_id, role)
            SELECT made.id, users.id, CASE users.name WHEN $2 THEN 'owner' ELSE 'member' END FROM made, users
            WHERE users.name IN ($2, $3) RETURNING org_id::text
            """,
            uuid.uuid4(),
            self.names[who],
            self.names["spare"],
        )
        await connection.close()
        return str(id_)

    async def user(self) -> str:
        """A new user; gives the id."""
        async with self.door.rest() as rest:
            made = await rest.post("/v1/auth/register", json={"name": fresh("somebody"), "password": PASSWORD})
            return str(made.json()["id"])

    async def sign_in_of(self, who: str) -> str:
        """Another sign-in of somebody than the one that asks. Not one of the things: signing in is throttled."""
        await self.door.sign_in(self.names[who])
        async with self.door.rest(self.tokens[who]) as rest:
            ins = (await rest.get("/v1/auth/sign-ins")).json()["items"]
        return next(str(one["id"]) for one in ins if not one["current"])


@pytest.fixture(scope="module")
async def world(cluster: Cluster, valkey_server: str) -> AsyncIterator[World]:
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, valkey_server)) as door:
        async with door.rest() as rest:
            # On a busy machine the first who asks may be told to come again: it is written then.
            while (document := await rest.get("/openapi.json")).status_code == 503:
                pass
            made = World(door, document.json())
        await made.populate(dsn)
        yield made
    await cluster.drop(dsn)


# ---- nothing without a policy


def test_every_command_has_a_policy() -> None:
    assert set(COMMANDS) == set(COMMAND_MODELS)


async def test_every_route_has_a_policy_and_every_policy_a_route(world: World) -> None:
    served = {f"{m.upper()} {path}" for path, methods in world.document["paths"].items() for m in methods}
    hidden = {
        "GET /openapi.json",
        "GET /asyncapi.json",
        "GET /v1/teams/schema.json",
        "GET /docs",
        "GET /docs/start.js",
    }
    assert served | hidden == set(ROUTES)


def test_a_route_without_a_policy_is_not_served() -> None:
    async def forgotten() -> None: ...

    router = APIRouter()
    router.add_api_route("/v1/forgotten", forgotten, methods=["GET"])
    with pytest.raises(LookupError, match="GET /v1/forgotten has no policy"):
        include(FastAPI(openapi_url=None, docs_url=None, redoc_url=None), router)


# ---- commands


def command(type_: str, values: Mapping[str, object]) -> dict[str, object]:
    """The fields of a valid command: what is required, and nothing else."""
    given = {}
    for name, field in COMMAND_MODELS[type_].model_fields.items():
        if (field.is_required() and name != "id") or name in ALSO_NEEDED.get(type_, ()):
            assert name in values, f"{type_}: say in this test what a valid `{name}` is"
            given[name] = values[name]
    return given


async def reply_to(person: Person, type_: str, fields: Mapping[str, object]) -> tuple[str, str]:
    """The code, and everything that is told; `ok` for a success."""
    try:
        await person.ask(type_, **fields)
    except Refused as refused:
        return refused.code, json.dumps(refused.error)
    return "ok", ""


def fits(what: str, wanted: str, code: str, text: str) -> bool:
    if NOT_YET in text:
        return True  # what nobody can do needs nobody's permission, and tells nobody anything
    if wanted != "allowed":
        return code == wanted
    return code not in REFUSALS | {"internal", "unavailable"} or (code == "not_found" and what in NOTHING_THERE)


async def test_commands(world: World) -> None:
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        people = {
            caller: await stack.enter_async_context(await world.door.enter(world.tokens[caller.name]))
            for caller in CALLERS
            if caller.known
        }
        own = await world.things("owner")
        for type_, rule in COMMANDS.items():
            for caller, person in people.items():
                values: dict[str, object] = dict(
                    own, text="hello", client_id=uuid.uuid4().hex, at_seq=1, request=str(uuid.uuid4()), team="scripted",
                    status="idle", token=person.token, agent="probe", offer=str(uuid.uuid4()), index=0,
                )  # fmt: skip
                fields = command(type_, values)
                told = set()
                ids: list[tuple[str | None, str]] = [(None, "")]
                if "session" in fields:
                    ids = [("own", own["session"]), ("foreign", world.foreign["session"]), *WRONG_IDS.items()]
                for about, id_ in ids:
                    code, text = await reply_to(person, type_, fields | ({"session": id_} if about else {}))
                    wanted = caller.may(rule, about)
                    if not fits(type_, wanted, code, text):
                        wrong.append(f"{type_} by {caller.name} about {about}: {code}, not {wanted}")
                    if wanted == "not_found":
                        told.add(text)
                if len(told) > 1:
                    wrong.append(f"{type_} by {caller.name}: unknown and forbidden look different: {told}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("type_", [t for t in COMMANDS if t != "auth"])
async def test_no_command_without_a_credential(world: World, type_: str) -> None:
    values: dict[str, object] = dict(
        world.foreign, text="x", client_id="c", at_seq=1, request="r", team="scripted", status="idle",
        agent="probe", offer="o", index=0,
    )  # fmt: skip
    async with connect(world.door.ws_url, proxy=None) as socket:
        await socket.send(json.dumps({"id": "1", "type": type_, **command(type_, values)}))
        async with asyncio.timeout(90):
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4501


# ---- routes


def ids_of(path: str, own: Mapping[str, str], foreign: Mapping[str, str]) -> Iterator[tuple[str | None, str]]:
    """What to put for `{id}`, and what it is about."""
    if "{id}" not in path:
        yield None, ""
        return
    thing = next((thing for prefix, thing in THINGS.items() if path.startswith(prefix)), None)
    assert thing is not None, f"{path}: say in THINGS what its id is"
    yield "foreign", foreign[thing]
    yield from WRONG_IDS.items()
    yield "own", own[thing]  # last: it may be its end


async def answer_of(rest: httpx2.AsyncClient, route: str, url: str) -> tuple[int, str, str]:
    """Status, code (`ok` for a success) and everything that is told."""
    method = route.split(" ")[0]
    body = BODIES[route]() if route in BODIES else None
    given = {"data": body} if route in FORMS else {"json": body} if body is not None else {}
    async with rest.stream(method, url, **given) as answer:
        if answer.is_success:
            return answer.status_code, "ok", ""  # an event stream has no end
        told = json.loads(await answer.aread())
    return answer.status_code, told["code"], json.dumps({**told, "request": ""})


@pytest.mark.parametrize("part", range(PARTS))
async def test_routes(world: World, part: int) -> None:
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        clients = {
            caller: await stack.enter_async_context(world.door.rest(world.tokens.get(caller.name)))
            for caller in CALLERS
        }
        own = await world.things("owner") | {"sign_in": WRONG_IDS["unknown"]}
        for route, rule in list(ROUTES.items())[part::PARTS]:
            method, path = route.split(" ")
            operation = world.document["paths"].get(path, {}).get(method.lower(), {})
            needs_body = operation.get("requestBody", {}).get("required", False)
            assert route in BODIES or not needs_body, f"{route}: say in BODIES what a valid body is"
            for caller, rest in clients.items():
                if path.startswith("/v1/auth/sign-ins/") and caller.person == "owner":
                    own["sign_in"] = await world.sign_in_of("owner")
                told = set()
                for about, id_ in ids_of(path, own, world.foreign):
                    url = path.replace("{id}", quote(id_)).replace("{user}", world.names["spare"])
                    url = url.replace("{request}", WRONG_IDS["unknown"]).replace("{invite}", WRONG_IDS["unknown"])
                    url = url.replace("{message}", own["message"]).replace("{name}", "matrix")
                    url = url.replace("{attachment}", WRONG_IDS["unknown"])
                    url += "?name=matrix.json" if path.endswith("/attachments") else ""
                    wanted = caller.may(rule, about)
                    if route == "DELETE /v1/admin/users/{id}" and wanted == "allowed":  # others are still needed
                        await world.door.register(name := fresh("erased"))
                        url = path.replace("{id}", name)
                    status, code, text = await answer_of(rest, route, url)
                    if route in WRONG_CONTENT and wanted == "allowed":
                        wanted = "unauthenticated"
                    if status >= 500 or not fits(route, wanted, code, text):
                        wrong.append(f"{route} by {caller.name} about {about}: {status} {code}, not {wanted}")
                    if wanted == "not_found":
                        told.add(text)
                    if route in ENDS_CREDENTIALS and code == "ok":
                        token = await world.sign_in_again(caller.person)
                        clients[next(c for c in CALLERS if c.name == caller.person)].headers["Authorization"] = token
                    if path == "/v1/admin/api-keys/{id}" and code == "ok":  # a key is ended once
                        world.foreign |= {"key": (await world.things("outsider"))["key"]}
                    if route == "DELETE /v1/admin/organisations/{id}" and code == "ok":  # so is an organisation
                        world.foreign |= {"organisation": await world.organisation("outsider")}
                    if (method == "DELETE" or route in ENDS_CREDENTIALS) and code == "ok":
                        own |= await world.things("owner")
                if len(told) > 1:
                    wrong.append(f"{route} by {caller.name}: unknown and forbidden look different: {told}")
    assert not wrong, "\n".join(wrong)
