"""Organisations: people, sessions and guests of one are nobody's business in another."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import httpx2
import pytest

from hub.domain.ids import new_id
from hub.domain.organisation import FIRST_ORGANISATION
from tests.api.people import Json, fresh, open_session, problem
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door


@dataclass(frozen=True)
class Town:
    """A hub with somebody who administers it."""

    door: Door
    dsn: str
    admin: httpx2.AsyncClient
    stack: AsyncExitStack

    async def user(self) -> tuple[str, httpx2.AsyncClient]:
        """Somebody new, who belongs to the first organisation only: name and client."""
        name = fresh("user")
        rest = await self.stack.enter_async_context(self.door.rest(await self.door.register(name)))
        return name, rest

    async def organisation(self, *people: str, guests: bool = False) -> str:
        """One of these members, and of nobody else; they are at home in it. Gives the id."""
        made = await self.admin.post("/v1/organisations", json={"name": fresh("org"), "guests": guests})
        assert made.status_code == 201, made.text
        id_: str = made.json()["id"]
        for name in people:
            put = await self.admin.put(f"/v1/organisations/{id_}/members/{name}", json={"role": "member"})
            assert put.status_code == 200, put.text
            await self.execute("UPDATE users SET home_org_id = $1::uuid WHERE name = $2", id_, name)
            await self.execute(
                "DELETE FROM organisation_members WHERE org_id <> $1::uuid AND user_id = "
                "(SELECT id FROM users WHERE name = $2)",
                id_,
                name,
            )
        return id_

    async def execute(self, statement: str, *values: object) -> None:
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(statement, *values)
        await connection.close()

    async def trail(self, about: str) -> list[tuple[str, str | None]]:
        connection = await asyncpg.connect(self.dsn)
        rows = await connection.fetch("SELECT action, address FROM audit WHERE object = $1 ORDER BY id", about)
        await connection.close()
        return [(row["action"], row["address"]) for row in rows]


@pytest.fixture(scope="module")
async def town(cluster: Cluster, valkey_server: str) -> AsyncIterator[Town]:
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, valkey_server)) as door, AsyncExitStack() as stack:
        name = fresh("mayor")
        admin = await stack.enter_async_context(door.rest(await door.register(name)))
        town = Town(door, dsn, admin, stack)
        await town.execute("UPDATE users SET is_admin = true WHERE name = $1", name)
        yield town
    await cluster.drop(dsn)


def mine(answer: httpx2.Response) -> list[tuple[str, str, bool]]:
    return [(one["id"], one["role"], one["home"]) for one in answer.json()["items"]]


async def members_of(rest: httpx2.AsyncClient, session: str) -> dict[str, str]:
    answer = await rest.get(f"/v1/sessions/{session}/members")
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["role"] for one in answer.json()["items"]}


async def test_who_never_heard_of_organisations_is_in_the_first_one(town: Town) -> None:
    (_, ann), (bob_name, bob) = await town.user(), await town.user()
    assert mine(await ann.get("/v1/organisations")) == [(FIRST_ORGANISATION, "member", True)]
    made = (await ann.post("/v1/sessions", json={"team": "scripted"})).json()
    assert made["organisation"] == FIRST_ORGANISATION
    put = await ann.put(f"/v1/sessions/{made['id']}/members/{bob_name}", json={"role": "owner"})
    assert put.status_code == 200
    assert (await bob.get(f"/v1/sessions/{made['id']}")).json()["organisation"] == FIRST_ORGANISATION
    events = (await bob.get(f"/v1/sessions/{made['id']}/events", params={"after_seq": 0})).json()["items"]
    assert events[0]["data"]["organisation"] == FIRST_ORGANISATION


async def test_an_organisation_is_made_by_who_administers_the_hub_and_its_owners_keep_it(town: Town) -> None:
    (ann_name, ann), (bob_name, bob) = await town.user(), await town.user()
    problem(await ann.post("/v1/organisations", json={"name": "Mine"}), 403, "forbidden")
    name = fresh("Acme")
    made = (await town.admin.post("/v1/organisations", json={"name": name})).json()
    assert (made["name"], made["role"], made["guests"]) == (name, "owner", False)
    here = f"/v1/organisations/{made['id']}"
    problem(await town.admin.post("/v1/organisations", json={"name": name.upper()}), 409, "conflict")
    problem(await town.admin.post("/v1/organisations", json={"name": " x"}), 400, "bad_request")

    for path, method, body in (
        (here, "PATCH", {"guests": True}),
        (f"{here}/members", "GET", None),
        (f"{here}/members/{bob_name}", "PUT", {"role": "member"}),
        (f"{here}/members/{bob_name}", "DELETE", None),
    ):
        problem(await ann.request(method, path, json=body), 404, "not_found")
    for role, allowed in (("member", 403), ("admin", 200), ("owner", 200)):
        await town.admin.put(f"{here}/members/{ann_name}", json={"role": role})
        assert (await ann.put(f"{here}/members/{bob_name}", json={"role": "admin"})).status_code == allowed
        assert (await ann.patch(here, json={"guests": True})).status_code == allowed
        kept = await ann.put(f"{here}/keep", json={"sessions_s": None, "deleted_s": 86_400})
        assert kept.status_code == allowed  # who may not could have everybody's sessions deleted
        assert (await ann.get(f"{here}/members")).status_code == 200
    # Only owners make and unmake owners, and one there must be.
    mayor = (await town.admin.get("/v1/me")).json()["name"]
    problem(await bob.put(f"{here}/members/{bob_name}", json={"role": "owner"}), 403, "forbidden")
    problem(await bob.put(f"{here}/members/{mayor}", json={"role": "member"}), 403, "forbidden")
    problem(await bob.delete(f"{here}/members/{mayor}"), 403, "forbidden")
    assert (await ann.delete(f"{here}/members/{mayor}")).status_code == 204
    problem(await ann.put(f"{here}/members/{ann_name}", json={"role": "member"}), 409, "conflict")
    problem(await ann.delete(f"{here}/members/{ann_name}"), 409, "conflict")
    problem(await ann.put(f"{here}/members/{bob_name}", json={"role": "guest"}), 400, "bad_request")
    problem(await ann.put(f"{here}/members/nobody-here", json={"role": "member"}), 404, "not_found")
    assert (await bob.delete(f"{here}/members/{bob_name}")).status_code == 204, "one may always leave"
    problem(await bob.get(f"{here}/members"), 404, "not_found")
    renamed = await ann.patch(here, json={"name": fresh("Other")})
    assert renamed.json()["guests"] is True
    assert {action for action, address in await town.trail(f"organisation:{made['id']}") if address} == {
        "organisation.create",
        "organisation.update",
        "organisation.keep",
        "organisation.member.put",
        "organisation.member.remove",
    }


async def test_members_of_a_session_belong_to_its_organisation(town: Town) -> None:
    (ann_name, ann), (bob_name, _), (_, eve) = await town.user(), await town.user(), await town.user()
    acme = await town.organisation(ann_name, bob_name)
    session = await open_session(ann)
    assert (await ann.get(f"/v1/sessions/{session}")).json()["organisation"] == acme
    eve_id, eve_name = (lambda me: (me["id"], me["name"]))((await eve.get("/v1/me")).json())
    added = await ann.put(f"/v1/sessions/{session}/members/{bob_name}", json={"role": "viewer"})
    assert added.status_code == 200
    unknown = problem(await ann.put(f"/v1/sessions/{session}/members/x-y", json={"role": "viewer"}), 404, "not_found")
    for who in (eve_id, eve_name):
        told = problem(
            await ann.put(f"/v1/sessions/{session}/members/{who}", json={"role": "viewer"}), 404, "not_found"
        )
        assert told["detail"] == unknown["detail"], "somebody elsewhere looks like nobody"
    token = (await ann.post(f"/v1/sessions/{session}/invites", json={"role": "viewer"})).json()["token"]
    told = problem(await eve.post("/v1/invites/accept", json={"token": token}), 404, "not_found")
    assert (
        told["detail"]
        == problem(await eve.post("/v1/invites/accept", json={"token": "inv_x"}), 404, "not_found")["detail"]
    )
    problem(await eve.get(f"/v1/sessions/{session}"), 404, "not_found")
    problem(await eve.post("/v1/sessions", json={"team": "scripted", "organisation": acme}), 403, "forbidden")
    problem(await eve.post("/v1/sessions", json={"team": "scripted", "organisation": "x"}), 403, "forbidden")
    assert set(await members_of(ann, session)) == {ann_name, bob_name}


async def test_guests_are_where_they_were_invited_and_nowhere_else(town: Town) -> None:
    (ann_name, ann), (eve_name, eve) = await town.user(), await town.user()
    acme = await town.organisation(ann_name, guests=True)
    session, other = await open_session(ann), await open_session(ann)
    token = (await ann.post(f"/v1/sessions/{session}/invites", json={"role": "editor"})).json()["token"]
    assert (await eve.post("/v1/invites/accept", json={"token": token})).json()["id"] == session
    assert (acme, "guest", False) in mine(await eve.get("/v1/organisations"))
    assert (await eve.post(f"/v1/sessions/{session}/messages", json={"text": "hello"})).status_code in (200, 201)
    problem(await eve.get(f"/v1/sessions/{other}"), 404, "not_found")
    problem(await eve.get(f"/v1/organisations/{acme}/members"), 403, "forbidden")
    problem(await eve.post("/v1/sessions", json={"team": "scripted", "organisation": acme}), 403, "forbidden")
    problem(await eve.post(f"/v1/sessions/{session}/fork", json={"at_seq": 1}), 403, "forbidden")
    problem(await ann.put(f"/v1/sessions/{session}/members/{eve_name}", json={"role": "owner"}), 409, "conflict")
    # Invited by name, too; who is nowhere a member any more is no guest either.
    assert (await ann.put(f"/v1/sessions/{other}/members/{eve_name}", json={"role": "viewer"})).status_code == 200
    for gone in (session, other):
        assert (acme, "guest", False) in mine(await eve.get("/v1/organisations"))
        assert (await ann.delete(f"/v1/sessions/{gone}/members/{eve_name}")).status_code == 204
    assert mine(await eve.get("/v1/organisations")) == [(FIRST_ORGANISATION, "member", True)]


async def test_who_leaves_an_organisation_leaves_its_sessions_and_somebody_owns_them(town: Town) -> None:
    (ann_name, ann), (bob_name, bob), (cid_name, cid) = await town.user(), await town.user(), await town.user()
    acme = await town.organisation(ann_name, bob_name, cid_name)
    shared, alone, elsewhere = await open_session(ann), await open_session(ann), ""
    await ann.put(f"/v1/sessions/{shared}/members/{cid_name}", json={"role": "viewer"})
    await ann.put(f"/v1/sessions/{shared}/members/{bob_name}", json={"role": "editor"})
    await town.admin.put(f"/v1/organisations/{FIRST_ORGANISATION}/members/{ann_name}", json={"role": "member"})
    await town.execute(
        "INSERT INTO organisation_members (org_id, user_id, role) SELECT $1::uuid, id, 'member' FROM users "
        "WHERE name = $2",
        FIRST_ORGANISATION,
        ann_name,
    )
    elsewhere = await open_session(ann, organisation=FIRST_ORGANISATION)
    async with await town.door.enter(await town.door.sign_in(cid_name)) as watcher:
        await watcher.ask("session.join", session=shared)
        gone = await town.admin.delete(f"/v1/organisations/{acme}/members/{ann_name}")
        assert gone.status_code == 204, gone.text
        await watcher.until("member.removed", name=ann_name)
        await watcher.until("member.updated", name=bob_name, role="owner")
    for session in (shared, alone):
        problem(await ann.get(f"/v1/sessions/{session}"), 404, "not_found")
    assert await members_of(bob, shared) == {bob_name: "owner", cid_name: "viewer"}
    assert (await ann.get(f"/v1/sessions/{elsewhere}")).status_code == 200
    assert mine(await ann.get("/v1/organisations")) == [(FIRST_ORGANISATION, "member", True)]
    problem(await town.admin.delete(f"/v1/organisations/{acme}/members/{ann_name}"), 404, "not_found")
    # Who belongs to nothing can open nothing, and is told so.
    await town.execute("UPDATE users SET home_org_id = $1::uuid WHERE name = $2", acme, cid_name)
    assert (await cid.delete(f"/v1/organisations/{acme}/members/{cid_name}")).status_code == 204
    problem(await cid.post("/v1/sessions", json={"team": "scripted"}), 403, "forbidden")


async def test_search_and_lists_show_nothing_of_elsewhere(town: Town) -> None:
    (ann_name, ann), (eve_name, eve) = await town.user(), await town.user()
    await town.organisation(ann_name)
    await town.organisation(eve_name)
    session = await open_session(ann, title="Secret plans")
    said = await ann.post(f"/v1/sessions/{session}/messages", json={"text": "the xyzzyword"})
    assert said.status_code in (200, 201), said.text
    found: Json = (await ann.get("/v1/search", params={"q": "xyzzyword"})).json()
    assert [hit["session"] for hit in found["items"]][:1] == [session]
    assert (await eve.get("/v1/search", params={"q": "xyzzyword"})).json()["items"] == []
    assert (await eve.get("/v1/sessions")).json()["items"] == []
    assert (await town.admin.get("/v1/search", params={"q": "xyzzyword"})).json()["items"] == []


async def test_nobody_finds_out_who_is_elsewhere_by_trying_to_take_them_out(town: Town) -> None:
    (name, member), (stranger, _) = await town.user(), await town.user()
    await town.organisation(stranger)
    org = f"/v1/organisations/{await town.organisation(name)}"
    own, unknown = f"/v1/sessions/{await open_session(member)}", f"/v1/sessions/{new_id()}"
    for rest, place, code in (
        (member, own, "not_found"),
        (member, unknown, "not_found"),
        (member, org, "forbidden"),
        (town.admin, org, "not_found"),  # who made it owns it
    ):
        told = [await rest.delete(f"{place}/members/{who}") for who in (stranger, fresh("nobody"), new_id())]
        assert {(one.json()["code"], one.json()["detail"]) for one in told} == {(code, told[0].json()["detail"])}, place
