"""Tools of an MCP server in a whole hub."""

import json
import os
import sys
from pathlib import Path

import pytest

from hub.process.bring_up import check_teams
from hub.process.exits import CannotStart
from tests.conftest import running_worker, settings_for
from tests.engine.test_mcp import SERVERS, alive
from tests.runs.conversation import finish
from tests.runs.test_inputs import answer, asked
from tests.runs.test_sending import room_for

FILE = f"""
servers:
  raw:
    command: [{sys.executable}, {SERVERS}, raw]
    env: [HUB_MCP_TEST]
    tools:
      echo: {{kind: effect}}
      pid: {{kind: safe}}
      env: {{}}
"""
TEAM = """
name: bank
description: Has tools.
kind: round_robin
model: scripted
agents:
  - name: teller
    tools: [raw__echo, raw__pid, raw__env]
"""


async def test_agents_call_the_tools_of_a_server_that_lives_with_the_hub(
    dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams" / "bank.yaml").write_text(TEAM)
    (tmp_path / "mcp.yaml").write_text(FILE)
    settings = settings_for(dsn, redis_url, teams_dir=tmp_path / "teams", mcp_file=tmp_path / "mcp.yaml")
    with pytest.raises(CannotStart, match="there is no environment variable HUB_MCP_TEST"):
        check_teams(settings)
    monkeypatch.setenv("HUB_MCP_TEST", "given")
    check_teams(settings)
    async with running_worker(settings) as hub, await hub.person() as ada:
        session = await room_for(ada, "bank")
        results = {}
        for tool, key in (("echo", "hello"), ("pid", "x")):
            sent = await ada.say(session, f"/script turns=1 tokens=1 tool=raw__{tool} key={key}")
            frames = await finish(ada, sent["run"])
            (returned,) = [frame["data"] for frame in frames if frame["type"] == "tool.returned"]
            assert (returned["name"], returned["is_error"]) == (f"raw__{tool}", False)
            results[tool] = returned["result"]
        assert results["echo"] == "hello"
        sent, request = await asked(ada, session, "/script turns=1 tokens=1 tool=raw__env key=x")
        assert request["data"]["tool"] == "raw__env"
        await answer(ada, request, decision="approve")
        (given,) = [f["data"]["result"] for f in await finish(ada, sent["run"]) if f["type"] == "tool.returned"]
        assert json.loads(given)["HUB_MCP_TEST"] == "given"
        assert "HUB_DATABASE_URL" not in given
        pids = json.loads(results["pid"])
        assert os.getpid() not in pids
        assert all(map(alive, pids))
        async with hub.rest(ada.token) as rest:
            assert 'hub_mcp_servers_connected{node="test:1:a"} 1.0' in (await rest.get("/metrics")).text
    assert not any(map(alive, pids))
