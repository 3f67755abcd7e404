"""Schemathesis asks every operation of the OpenAPI document for as long as it is told, all its phases, as nobody, as a
user and as an administrator; `python3 dev.py fuzz`. Not a part of the suite: it is never the same twice.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.api.contract import WHO, Asker, asker_of, world_of_askers
from tests.api.people import Json
from tests.api.test_policy_matrix import WRONG_IDS, World
from tests.conftest import Cluster

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]

FINDS_ITSELF = {"POST /v1/admin/users/{id}/signout"}
"""What ends the credentials of whoever it is about: ids that an answer has told may be those of the one who asks."""


@pytest.fixture(scope="module")
async def world(cluster: Cluster, valkey_server: str) -> AsyncIterator[World]:
    async with world_of_askers(cluster, valkey_server) as made:
        yield made


@pytest.mark.timeout(0)  # the deadline is that of the process
@pytest.mark.parametrize("who", WHO)
async def test_every_answer_is_documented(world: World, who: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seconds = round(60 * pytestconfig.getoption("fuzz_minutes"))
    asker = await asker_of(world, who)
    if asker.token is not None:
        asker = replace(asker, doomed=await world.things(who))
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(configured(asker, world.document))
    code, told = await schemathesis(
        *["--config-file", str(configuration), "run", f"{world.door.url}/openapi.json"],
        *["--checks", ",".join(CHECKS), "--max-time", str(seconds), "--continue-on-failure"],
        *["--request-timeout", "20", "--generation-database", "none", "--no-color"],
        folder=tmp_path,
        within_s=2 * seconds + 120,
    )
    print(told)
    assert code == 0, told
    count = sum(len(operations) for operations in world.document["paths"].values())
    assert f"Selected: {count}/{count}" in told
    assert f"Tested: {count}" in told
    if asker.token is not None:
        async with world.door.rest(asker.token) as rest:
            me = await rest.get("/v1/me")
        assert me.status_code == 200, "one of the operations has ended the credential: put it into MAY_END_IT"


def configured(asker: Asker, document: Json) -> str:
    """What Schemathesis is told: the credentials, and the ids there are beside those it makes up."""
    things = {**asker.things, **{f"doomed_{thing}": id_ for thing, id_ in asker.doomed.items()}}
    lines = [
        f"[dictionaries.{thing}]\nvalues = {json.dumps([id_, WRONG_IDS['unknown']])}" for thing, id_ in things.items()
    ]
    names = {id_: thing for thing, id_ in things.items()}
    for path, operations in document["paths"].items():
        for method in operations:
            route = f"{method.upper()} {path}"
            sure = 1.0 if route in FINDS_ITSELF else 0.8
            given = ", ".join(
                f'"path.{parameter}" = {{ dictionary = "{names[id_]}", probability = {sure} }}'
                for parameter, id_ in asker.ids_for(route).items()
            )
            lines.append(f"[[operations]]\ninclude-name = {json.dumps(route)}\nparameters = {{ {given} }}")
            if (token := asker.token_for(route)) is not None:
                lines.append(f'headers = {{ Authorization = "Bearer {token}" }}')
            if route in FINDS_ITSELF:
                lines.append("phases = { stateful = { enabled = false } }")
            if path.endswith("/stream"):
                lines.append("max-stream-events = 1")  # it has no end
    return "\n".join(lines)


async def schemathesis(*arguments: str, folder: Path, within_s: float) -> tuple[int, str]:
    """Its exit code, and what it told."""
    process = await asyncio.create_subprocess_exec(
        *[str(Path(sys.executable).with_name("st")), *arguments],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    try:
        async with asyncio.timeout(within_s):
            told = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, told
