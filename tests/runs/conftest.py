"""A hub whose operator has tools, for the tests of this folder that need one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.store.database import Store
from tests.conftest import Cluster, flush, running_worker, settings_for
from tests.driver import Door

TEAM = """
name: bank
description: Has tools.
kind: round_robin
model: scripted
agents:
  - name: teller
    tools: [echo, pay, launch, flood, flood_once, adas, banks, calculator, search_transcript]
"""

VAULT = """
name: vault
description: Wants more approved than its tools do.
kind: round_robin
model: scripted
agents:
  - name: keeper
    tools: [echo, pay, launch]
approvals:
  echo: {when: [{argument: key, is: in, value: [gold, silver]}, {argument: key, is: "==", value: "9"}]}
  pay: {approvers: 2, by_others: true}
  launch: {approvers: 1}
"""

GRAPH = """
name: drafts
description: A graph of LangGraph's.
kind: runnable
runnable: graph
agents: [{name: writer}, {name: critic, display_name: The critic}]
"""


def bank_settings(folders: pytest.TempPathFactory) -> dict[str, Any]:
    """What its operator sets."""
    return {
        "teams_dir": bank_team(folders),
        "tools": ("tests.engine.some_tools",),
        "runnables": ("tests.engine.some_runnables",),
    }


def bank_team(folders: pytest.TempPathFactory) -> Path:
    """A folder with the teams `bank`, `vault` and `drafts`."""
    folder = folders.mktemp("teams")
    (folder / "bank.yaml").write_text(TEAM)
    (folder / "vault.yaml").write_text(VAULT)
    (folder / "graph.yaml").write_text(GRAPH)
    return folder


@pytest.fixture(scope="package")
async def bank_dsn(cluster: Cluster) -> AsyncIterator[str]:
    dsn = await cluster.clone()
    yield dsn
    await cluster.drop(dsn)


@pytest.fixture
async def bank_store(bank_dsn: str) -> AsyncIterator[Store]:
    store = Store(bank_dsn, pool_size=2)
    yield store
    await store.close()


@pytest.fixture(scope="package")
async def bank(bank_dsn: str, valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """A hub whose operator has tools."""
    async with running_worker(settings_for(bank_dsn, valkey_server, **bank_settings(tmp_path_factory))) as door:
        yield door
    await flush(valkey_server)
