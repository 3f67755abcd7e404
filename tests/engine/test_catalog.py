"""The teams that come with the hub, and the models they talk on."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hub.domain.ids import OrganisationId, new_id
from hub.domain.team import ImportedTeam
from hub.engine.catalog import Catalog
from hub.engine.models.registry import Models, ScriptedModel, local_model, openai_model
from hub.engine.teams.files import all_teams
from hub.engine.teams.rules import Names
from hub.engine.teams.scripted import scripted_teams
from tests.engine.driving import catalog, whole_run

ROOT = Path(__file__).parents[2]
NAMES = [
    "debate",
    "duo",
    "newsroom",
    "ops",
    "panel",
    "project",
    "research",
    "review",
    "scripted",
    "scripted-autogen",
    "scripted-tools",
    "startup",
    "support",
]


def test_names() -> None:
    teams = catalog()
    assert sorted(teams.names()) == NAMES
    assert teams.get("nothing") is None


def test_scripted_teams_do_not_use_the_default_model() -> None:
    teams = catalog(("local", local_model("http://127.0.0.1:1/v1")))
    names = {name: teams.model_name(team) for name in NAMES if (team := teams.get(name)) is not None}
    assert names == {name: "scripted" if name.startswith("scripted") else "smollm2" for name in NAMES}


def test_imported_teams_stand_beside_those_of_files_which_hide_them() -> None:
    teams = catalog()
    duo = teams.get("duo")
    assert duo is not None
    org, other = OrganisationId(new_id()), OrganisationId(new_id())
    spec = replace(duo, name="crew", description="imported")
    teams.adopt(
        [
            ImportedTeam(replace(spec, name="duo"), 7),
            ImportedTeam(spec, 2),
            ImportedTeam(replace(spec, name="ours"), 1, org),
            ImportedTeam(replace(spec, name="old"), 1, archived=True),
        ]
    )
    assert (teams.get("duo"), teams.version("duo")) == (duo, None), "a file hides what was imported"
    assert (teams.get("crew"), teams.version("crew")) == (spec, 2)
    assert {spec.name for spec in teams.offered([org])} == {*NAMES, "crew", "ours"}
    assert {spec.name for spec in teams.offered([other])} == {*NAMES, "crew"}
    open_to = {name: (teams.is_open_to(name, org), teams.is_open_to(name, other)) for name in ("crew", "ours", "old")}
    assert open_to == {"crew": (True, True), "ours": (True, False), "old": (False, False)}
    assert teams.get("old") is not None, "its sessions go on"
    teams.adopt([])
    assert sorted(teams.names()) == NAMES
    assert not teams.is_open_to("crew", org)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ops"])  # which needs a program
async def test_every_team_talks_without_a_model(name: str) -> None:
    teams = catalog()
    team = teams.get(name)
    assert team is not None
    told, _ = await whole_run(teams.engine(team), team, "good morning")
    # A swarm's first agent answers; nothing lets the graph's checker pass the answer on.
    some = {"support": 1, "research": 5}.get(name, len(team.agents))
    expected = [agent.name for agent in team.agents][:some]
    if name == "project":
        expected.append("orchestrator")
    if name == "newsroom":
        expected[1:1] = ["reporter", "subeditor"]
    assert told.speakers == expected
    assert set(told.texts) == {"good morning"}


def test_agents_have_names_that_providers_take() -> None:
    for team in all_teams(None, Names(models=[], tools=["calculator", "clock"])):
        for agent in team.agents:
            assert agent.name.isidentifier()
            assert agent.display_name


def test_what_does_not_exist_is_said_at_the_start() -> None:
    team = next(iter(scripted_teams()))
    with pytest.raises(ValueError, match="needs 'gpt-9'"):
        catalog(teams=[replace(team, model="gpt-9")])
    with pytest.raises(ValueError, match="needs 'hammer'"):
        catalog(teams=[replace(team, agents=(replace(team.agents[0], tools=("hammer",)),))])
    with pytest.raises(ValueError, match="no model has the alias 'local'; there are: scripted"):
        Models({"scripted": ScriptedModel()}, default="local")


def test_models_by_alias() -> None:
    models = Models({"scripted": ScriptedModel(), "openai": openai_model(None, "key", "gpt")}, default="openai")
    assert "openai" in models
    assert "local" not in models
    assert models.get(None).name == "gpt"
    assert models.get("scripted").name == "scripted"
    with pytest.raises(KeyError):
        models.get("local")


async def test_a_catalogue_is_closed_before_it_was_used() -> None:
    await Catalog(catalog()._models, catalog().tools).aclose()


def test_a_framework_is_loaded_when_it_is_needed() -> None:
    loaded = "print('autogen_core' in sys.modules)"
    others = "print([name for name in ('mcp', 'langchain_core', 'langgraph') if name in sys.modules])"
    code = f"import sys, hub.app, hub.engine.catalog as c; {loaded}; c.preload(); {loaded}; {others}"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120)
    assert ran.stdout.split() == ["False", "True", "[]"]
