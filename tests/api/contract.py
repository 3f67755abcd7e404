"""Who asks the operations of the OpenAPI document, and about what: nobody, a user and an administrator, the latter two
with things of their own."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from tests.api.people import fresh
from tests.api.test_policy_matrix import ENDS_CREDENTIALS, THINGS, World
from tests.conftest import Cluster, running_worker, settings_for

WHO = ("nobody", "stranger", "admin")
MAY_END_IT = ENDS_CREDENTIALS | {
    "POST /v1/auth/revoke",  # without a token it signs the caller out
    "DELETE /v1/auth/sign-ins/{id}",  # an id may be found in the list
}


@dataclass(frozen=True)
class Asker:
    """A caller. `spares` are credentials of others, one for each route that may be its end; `doomed` are things for
    routes that end them, if there are any: else they are the same as everywhere."""

    token: str | None
    spares: Mapping[str, str]
    things: Mapping[str, str]
    doomed: Mapping[str, str] = field(default_factory=dict)

    def token_for(self, route: str) -> str | None:
        """What to ask this route with; None for nobody."""
        return self.spares.get(route, self.token)

    def ids_for(self, route: str) -> dict[str, str]:
        """What there is of the asker's for the parameters of a route's path."""
        method, path = route.split(" ")
        things = {**self.things, **self.doomed} if method == "DELETE" and path.endswith("/{id}") else self.things
        thing = next((thing for prefix, thing in THINGS.items() if path.startswith(prefix)), "")
        names = {"id": thing, "user": "user", "message": "message"}
        return {name: things[what] for name, what in names.items() if f"{{{name}}}" in path and what in things}


@asynccontextmanager
async def world_of_askers(cluster: Cluster, redis_url: str) -> AsyncGenerator[World]:
    """A hub with a user and an administrator, whose credentials last."""
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, redis_url, access_token_s=86_400)) as door:
        async with door.rest() as rest:
            # On a busy machine the first who asks may be told to come again: it is written then.
            while (document := await rest.get("/openapi.json")).status_code == 503:
                pass
            world = World(door, document.json())
        world.dsn = dsn
        for who in WHO[1:]:
            world.tokens[who] = await door.register(world.names[who])
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE users SET is_admin = true WHERE name = $1", world.names["admin"])
        await connection.close()
        yield world
    await cluster.drop(dsn)


async def asker_of(world: World, who: str) -> Asker:
    """One of `WHO`; nobody asks about things of the user's."""
    if who == "nobody":
        return Asker(None, {}, await world.things("stranger"))
    spares = {route: await world.door.register(fresh("spare")) for route in sorted(MAY_END_IT)}
    return Asker(world.tokens[who], spares, await world.things(who))
