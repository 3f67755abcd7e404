"""Tools that an operator names."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.cli.tools import cli
from hub.engine.catalog import names_of
from hub.engine.forms import FileError
from hub.engine.langchain.registry import Runnables
from hub.engine.loading import LoadingError, offered
from hub.engine.loading import load as load_any
from hub.engine.models.registry import Models, ScriptedModel
from hub.engine.teams.files import parse
from hub.engine.tools import Tool
from hub.engine.tools.registry import Tools
from hub.process.bring_up import check_teams
from hub.process.exits import CannotStart, ExitCode
from hub.settings import Settings
from tests.engine.driving import builtin


def load(names: Sequence[str], taken: Sequence[str]) -> list[Tool]:
    return load_any("HUB_TOOLS", "agenthub.tools", Tool, names, taken)


def test_a_module_gives_its_tools_and_keeps_others_to_itself() -> None:
    assert [tool.name for tool in load(["tests.engine.some_tools"], [])] == [
        "echo",
        "pay",
        "launch",
        "flood",
        "flood_once",
        "adas",
        "banks",
    ]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("tests.engine.no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("tests.engine.driving", "holds no Tool"),
    ],
)
def test_what_holds_no_tools_is_said(name: str, what: str) -> None:
    with pytest.raises(LoadingError, match=f"HUB_TOOLS: {name} {what}"):
        load([name], [])


def test_no_tool_takes_the_name_of_another() -> None:
    with pytest.raises(LoadingError, match="has a Tool 'echo', and so has somebody else"):
        load(["tests.engine.some_tools"], ["echo"])
    assert len(load(["tests.engine.some_tools"] * 2, [])) == 7


def test_an_entry_point_is_loaded_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = tmp_path / "acme-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(
        "[agenthub.tools]\nacme = tests.engine.some_tools:echo\nbroken = tests.engine.some_tools:nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert [entry.name for entry in offered("agenthub.tools")] == ["acme", "broken"]
    assert [tool.name for tool in load(["acme"], [])] == ["echo"]
    with pytest.raises(LoadingError, match="broken cannot be loaded: AttributeError"):
        load(["broken"], [])


TEAM = b"""
name: shop
description: d
kind: graph
agents:
  - {name: a, tools: [echo, pay, banks]}
"""


def test_teams_name_tools_that_are_there_for_them() -> None:
    tools = Tools([*builtin(), *load(["tests.engine.some_tools"], [])])
    names = names_of(Models({"scripted": ScriptedModel()}, default="scripted"), tools, Runnables())
    with pytest.raises(FileError) as error:
        parse(TEAM, "shop.yaml", names)
    assert [(problem.where, problem.what) for problem in error.value.problems] == [
        ("agents[0].tools[1]", "'pay' has effects or asks people: not in a team of kind graph"),
        ("agents[0].tools[2]", "'banks' is not for this team"),
    ]
    parse(TEAM.replace(b"shop", b"bank").replace(b"pay, ", b""), "bank.yaml", names)


def test_the_command_lists_them() -> None:
    listed = CliRunner().invoke(cli, ["list"], env={"HUB_TOOLS": "tests.engine.some_tools"})
    assert listed.exit_code == 0, listed.output
    assert 'pay                      effect    Pays an amount. (approval if "large" in key)' in listed.output
    assert "adas                     safe      For ada only. (users: ada)" in listed.output
    names = [line.split()[0] for line in listed.output.splitlines()]
    assert len(names) == len(set(names))
    assert {"clock", "counter", "echo", "pay", "launch", "flood", "flood_once", "adas", "banks"} <= set(names)
    whole = CliRunner().invoke(cli, ["list", "--json"], env={"HUB_TOOLS": ""})
    rows = [json.loads(line) for line in whole.output.splitlines()]
    assert [row["name"] for row in rows if row["kind"] == "safe"] == ["clock", "calculator", "search_transcript"]


def test_a_hub_does_not_start_without_its_tools() -> None:
    with pytest.raises(CannotStart, match=r"HUB_TOOLS: tests\.nothing cannot be loaded") as error:
        check_teams(Settings(tools=("tests.nothing",), default_model="scripted"))
    assert error.value.code is ExitCode.USAGE
