"""Every operation of the OpenAPI document is asked valid and invalid things that Schemathesis makes up, each by nobody,
by a user and by an administrator: no answer is a 5xx, and none is one that the document does not tell of (status, type,
schema, headers).

What is asked is the same each time; `python3 dev.py fuzz` asks for long, something else each time.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.contract import WHO, Asker, asker_of, world_of_askers
from tests.api.people import Json
from tests.api.test_policy_matrix import World
from tests.conftest import Cluster

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUICK = hypothesis.settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
# The hub in this process draws random numbers while Schemathesis draws its own: that is no strategy's doing.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)
STREAMS = "max-stream-events = 1"  # they have no end


@pytest.fixture(scope="module")
async def world(cluster: Cluster, valkey_server: str) -> AsyncIterator[World]:
    async with world_of_askers(cluster, valkey_server) as made:
        yield made


class Interview:
    """Asks and notes: how often each operation was answered with what, and what is not documented."""

    def __init__(self, url: str, askers: Mapping[str, Asker]) -> None:
        self.url = url
        self.askers = askers
        self.answers: dict[str, set[int]] = {}
        self.wrong: list[str] = []

    def conduct(self, document: Json) -> None:
        """All operations; what takes things away comes last."""
        config = schemathesis.Config.from_str(STREAMS)
        results = schemathesis.openapi.from_dict(document, config=config).get_all_operations()
        found = [result.ok() for result in results if isinstance(result, Ok)]
        with requests.Session() as http:
            for operation in sorted(found, key=lambda operation: operation.method.upper() == "DELETE"):
                self._ask(operation, GenerationMode.POSITIVE, 2 if operation.body or operation.query else 1, http)
                self._ask(operation, GenerationMode.NEGATIVE, 1, http)

    def _ask(
        self, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, count: int, http: requests.Session
    ) -> None:
        @hypothesis.settings(QUICK, max_examples=count)
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            for who, asker in self.askers.items():
                if mode is GenerationMode.POSITIVE:
                    case.path_parameters = {**case.path_parameters, **asker.ids_for(operation.label)}
                token = asker.token_for(operation.label)
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                response = case.call(base_url=self.url, session=http, headers=headers, timeout=120)
                self.answers.setdefault(f"{who} {operation.label}", set()).add(response.status_code)
                try:
                    case.validate_response(response, checks=CHECKS)
                except FailureGroup as failures:
                    self.wrong += [f"{operation.label} by {who}: {failure}" for failure in failures.exceptions]

        with suppress(Unsatisfiable):  # where nothing is read, nothing can be wrong
            ask()


async def test_every_answer_is_documented(world: World) -> None:
    interview = Interview(world.door.url, {who: await asker_of(world, who) for who in WHO})
    await asyncio.to_thread(interview.conduct, world.document)
    assert not interview.wrong, "\n".join(interview.wrong)
    routes = {f"{method.upper()} {path}" for path, methods in world.document["paths"].items() for method in methods}
    assert set(interview.answers) == {f"{who} {route}" for who in WHO for route in routes}


async def test_an_answer_that_is_not_documented_is_found(world: World) -> None:
    document = copy.deepcopy(world.document)
    document["paths"] = {"/v1/me": document["paths"]["/v1/me"], "/healthz": document["paths"]["/healthz"]}
    del document["paths"]["/v1/me"]["get"]["responses"]["401"]
    document["components"]["schemas"]["Alive"]["properties"]["status"] = {"const": "well"}
    interview = Interview(world.door.url, {"nobody": Asker(None, {}, {})})
    await asyncio.to_thread(interview.conduct, document)
    told = "\n".join(interview.wrong)
    assert "GET /v1/me by nobody: Undocumented status code" in told
    assert "GET /healthz by nobody: Response violates schema" in told
