"""Teams' files: what is in them, and what is said of those that hold none."""

from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hub.domain.team import AgentSpec, Approval, ArgumentRule, Edge, Seat, TeamKind, TeamSpec
from hub.engine import yaml_source
from hub.engine.forms import FileError
from hub.engine.teams.files import all_teams, gallery, in_folder, parse, read_file
from hub.engine.teams.form import schema
from hub.engine.teams.rules import Names

NAMES = Names(models=["scripted", "openai"], tools=["calculator", "clock", "counter"], effects=["counter"])
GOOD = """\
name: crew
description: Two people.
kind: selector
model: openai
agents:
  - name: first_one
    role: a careful reader
    goal: Find mistakes.
    instructions: Be brief.
    tools: [clock]
  - name: second
    display_name: Zweite
    description: Writes.
selector_prompt: Who of {participants}?
limits:
  max_turns: 3
  turn_timeout_s: 60
  stop_phrase: DONE
"""
GRAPH = """\
name: g
description: d
kind: graph
agents: [{name: a}, {name: b, tools: [clock]}, {name: c}]
edges:
  - {from: a, to: b}
  - {from: b, to: a, when: again, group: loop}
  - {from: b, to: c, when: done, wait_for: any}
start: a
"""
SWARM = """\
name: s
description: d
kind: swarm
agents:
  - {name: a, handoffs: [b]}
  - {name: b}
"""
PLACES = """\
name: p
description: d
kind: round_robin
agents: [{name: a, kind: bot, user: owl, accept_s: 3, substitute: b},
         {name: b}]
"""
NEST = """\
name: n
description: d
kind: round_robin
agents:
  - name: desk
    kind: society
    show: false
    model: openai
    team:
      kind: graph
      agents: [{name: a, tools: [clock]}, {name: b}]
      edges: [{from: a, to: b}]
      budgets: {run: {tokens: 10}}
  - name: chief
    agents_as_tools:
      - {name: c, agents_as_tools: [{name: d}]}
"""
SMALL = "name: {}\ndescription: d\nkind: round_robin\nagents: [{{name: a}}]\n"


def test_a_file_is_a_team() -> None:
    assert parse(GOOD.encode(), "crew.yaml", NAMES) == TeamSpec(
        name="crew",
        description="Two people.",
        kind=TeamKind.SELECTOR,
        model="openai",
        agents=(
            AgentSpec(
                "first_one",
                "First One",
                "You are a careful reader.\n\nYour goal: Find mistakes.\n\nBe brief.",
                "a careful reader",
                ("clock",),
            ),
            AgentSpec("second", "Zweite", "", "Writes."),
        ),
        max_turns=3,
        turn_timeout_s=60,
        stop_phrase="DONE",
        selector_prompt="Who of {participants}?",
    )


def test_an_agent_may_have_a_model_of_its_own() -> None:
    text = GOOD.replace("    description: Writes.", "    model: scripted\n    temperature: 1\n    max_tokens: 400")
    first, second = parse(text.encode(), "crew.yaml", NAMES).agents
    assert (first.model, first.temperature, first.max_tokens) == (None, None, None)
    assert (second.model, second.temperature, second.max_tokens) == ("scripted", 1.0, 400)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("description: Writes.", "model: opneai", "13:5: agents[1].model: there is no model 'opneai'; do you mean"),
        ("description: Writes.", "temperature: 3", "13:5: agents[1].temperature: Input should be less than or equal"),
        ("description: Writes.", "max_tokens: 0", "13:5: agents[1].max_tokens: Input should be greater than or"),
        ("model: openai", "modle: openai", "4:1: modle: there is no such key; do you mean 'model'?"),
        ("  max_turns: 3", "  max_turn: 3", "16:3: limits.max_turn: there is no such key; do you mean 'max_turns'?"),
        ("    goal:", "    gaol:", "8:5: agents[0].gaol: there is no such key; do you mean 'goal'?"),
        ("model: openai", "model: opneai", "4:1: model: there is no model 'opneai'; do you mean 'openai'?"),
        (
            "[clock]",
            "[hammer]",
            "10:13: agents[0].tools[0]: there is no tool 'hammer'; there are: calculator, clock, counter",
        ),
        ("name: second", "name: first_one", "11:5: agents[1].name: another agent has the name 'first_one', too"),
        ("name: second", "name: user", "11:5: agents[1].name: 'user' is no name"),
        ("name: second", "name: os.system", "11:5: agents[1].name: String should match"),
        ("name: crew", "name: scripted", "1:1: name: 'scripted' is the name of a team that is always there"),
        ("name: crew", "name: ../crew", "1:1: name: String should match"),
        ("max_turns: 3", "max_turns: '3'", "16:3: limits.max_turns: Input should be a valid integer"),
        ("max_turns: 3", "max_turns: 0", "16:3: limits.max_turns: Input should be greater than or equal to 1"),
        ("description: Two people.\n", "", "1:1: description: this key is missing"),
        ("kind: selector", "kind: autogen", "3:1: kind: Input should be"),
        ("kind: selector", "kind: round_robin", "14:1: selector_prompt: only a team of kind selector"),
        ("kind: selector", "kind: &a selector", "3:7: anchors"),
        (
            GOOD,
            SMALL.format("x").replace("round_robin", "selector"),
            "4:1: agents: a team of kind selector has two agents or more",
        ),
        (GOOD, "- 1\n", "1:1: Input should be an object"),
        (GOOD, "", "1:1: Input should be an object"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    with pytest.raises(FileError) as refused:
        parse(GOOD.replace(old, new).encode(), "crew.yaml", NAMES)
    assert str(refused.value).startswith(f"crew.yaml:{problem}")


def test_graphs_and_swarms() -> None:
    graph = parse(GRAPH.encode(), "g", NAMES)
    assert graph.start == "a"
    assert graph.edges == (
        Edge("a", "b"),
        Edge("b", "a", "again", "loop"),
        Edge("b", "c", "done", any_of_group=True),
    )
    assert parse(SWARM.encode(), "s", NAMES).agents[0].handoffs == ("b",)


def test_teams_and_agents_within_agents() -> None:
    team = parse(NEST.encode(), "n", NAMES)
    desk, chief = team.agents
    assert desk.nested is not None
    assert (desk.nested.is_shown, desk.nested.answers, desk.nested.team.name) == (False, True, "desk")
    assert desk.nested.team.edges == (Edge("a", "b"),)
    assert [limit.amount for limit in desk.nested.team.budgets] == [10]
    assert [agent.name for agent in team.everybody()] == ["desk", "a", "b", "chief", "c", "d"]
    assert chief.helpers[0].helpers[0].name == "d"
    assert [team.speaker(agent) for agent in team.agents] == ["team", "model"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{name: b}", "{name: chief}", "14:5: agents[1].name: another agent has the name 'chief', too"),
        ("{name: b}", "{name: b, kind: human}", "11:53: agents[0].team.agents[1].kind: inside another's turn"),
        ("[clock]", "[counter]", "11:34: agents[0].team.agents[0].tools[0]: 'counter' has effects or asks people: not"),
        ("to: b", "to: x", "12:25: agents[0].team.edges[0].to: there is no agent 'x'; there are: a, b"),
        ("to: b", "too: b", "12:25: agents[0].team.edges[0].too: there is no such key; do you mean 'to'?"),
        ("run: {tokens", "session: {tokens", "13:17: agents[0].team.budgets.session: a team inside another has"),
        ("{tokens: 10}", "{turns: 10}", "13:23: agents[0].team.budgets.run.turns: of turns a team inside another"),
        (
            "kind: graph",
            "kind: graph\n      limits: {turn_timeout_s: 3}",
            "11:16: agents[0].team.limits.turn_timeout_s:",
        ),
        ("kind: society", "tools: [clock]", "9:5: agents[0].team: only an agent of kind team or society has team"),
        ("    show: false\n", "    tools: [clock]\n", "7:5: agents[0].tools: an agent of kind society has no tools"),
        ("[{name: d}]", "[{name: d, agents_as_tools: [{name: e}]}]", "16:47: agents[1].agents_as_tools[0].agents_as"),
        ("{name: d}", "{name: d, handoffs: [a]}", "agents_as_tools[0].handoffs: an agent that others ask hands over"),
        ("{name: c,", "{name: c, tools: [counter],", "agents_as_tools[0].tools[0]: 'counter' has effects"),
    ],
)
def test_what_is_wrong_with_agents_within_agents(old: str, new: str, problem: str) -> None:
    assert old in NEST
    with pytest.raises(FileError) as refused:
        parse(NEST.replace(old, new, 1).encode(), "n", NAMES)
    assert problem in str(refused.value)


APPROVALS = (
    GOOD
    + """\
approvals:
  clock: {}
  counter:
    when: [{argument: to.country, is: in, value: [de, null]}, {argument: amount, is: ">", value: 100}]
    approvers: 2
"""
)
HAS_COUNTER = APPROVALS.replace("[clock]", "[clock, counter]")


def test_a_team_says_what_it_wants_approved() -> None:
    found = parse(HAS_COUNTER.encode(), "crew.yaml", NAMES).approvals
    rules = (ArgumentRule("to.country", "in", ("de", None)), ArgumentRule("amount", ">", 100))
    assert found == (Approval("clock"), Approval("counter", rules, approvers=2))
    Draft202012Validator(schema()).validate(yaml_source.read(HAS_COUNTER.encode()).value)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[clock, counter]", "[clock]", "approvals.counter: no agent of the team has the tool 'counter'"),
        ("  clock:", "  clack:", "approvals.clack: there is no tool 'clack'; do you mean 'clock'?"),
        ("to.country", "to country", "approvals.counter.when[0].argument: String should match pattern"),
        (
            "amount",
            "amuont",
            "approvals.counter.when[1].argument: there is no argument 'amuont'; do you mean 'amount'?",
        ),
        ('">"', "is", "approvals.counter.when[1].is: Input should be '=='"),
        ("approvers: 2", "approvers: 21", "approvals.counter.approvers: Input should be less than or equal to 20"),
        ("approvers: 2", "by: me", "23:5: approvals.counter.by: there is no such key"),
        ("kind: selector", "kind: graph", "agents[0].tools[0]: 'clock' has effects or asks people: not in a team of"),
    ],
)
def test_what_is_wrong_with_approvals(old: str, new: str, problem: str) -> None:
    names = replace(NAMES, arguments={"counter": ["amount", "to"]})
    with pytest.raises(FileError) as caught:
        parse(HAS_COUNTER.replace(old, new).encode(), "crew.yaml", names)
    assert problem in str(caught.value)


def test_a_place_for_a_program() -> None:
    team = parse(PLACES.encode(), "p", NAMES)
    assert team.agents[0].seat == Seat(user="owl", accept_s=3.0, silence_s=60.0, timeout_s=240.0, substitute="b")
    assert team.agents[1].seat is None


@pytest.mark.parametrize(
    ("text", "old", "new", "problem"),
    [
        (PLACES, "name: b", "name: b, user: owl", "5:20: agents[1].user: only an agent of kind bot or human has user"),
        (PLACES, "user: owl", "tools: [clock]", "4:31: agents[0].tools: only an agent of kind model has tools"),
        (PLACES, "substitute: b", "substitute: a", "4:55: agents[0].substitute: there is no agent of kind model 'a'"),
        (PLACES, "accept_s: 3", "timeout_s: 300", "4:42: agents[0].timeout_s: a bot has less time than the whole turn"),
        (PLACES, "kind: bot", "kind: python", "4:20: agents[0].kind: Input should be 'model', 'bot', 'human', "),
        (PLACES, "kind: bot", "kind: human", "4:44: agents[0].accept_s: only an agent of kind bot has accept_s"),
        (GRAPH, "{name: a}", "{name: a, kind: human}", "4:20: agents[0].kind: a graph cannot wait for a person"),
        (GRAPH, "from: a,", "form: a,", "6:6: edges[0].form: there is no such key; do you mean 'from'?"),
        (GRAPH, "to: c", "to: d", "8:15: edges[2].to: there is no agent 'd'; there are: a, b, c"),
        (GRAPH, "[clock]", "[counter]", "4:39: agents[1].tools[0]: 'counter' has effects or asks people"),
        (GRAPH, ", when: again", "", "5:1: edges: a circle without a `when` never ends: a -> b -> a"),
        (GRAPH, ", when: done", "", "8:5: edges[2]: edges from 'b' have a `when` all of them, or none"),
        (GRAPH, "start: a", "start: x", "9:1: start: there is no agent 'x'"),
        (
            GRAPH,
            "{from: a, to: b}",
            "{from: a, to: b}\n  - {from: c, to: a, when: x}",
            "5:1: edges: the graph has no end",
        ),
        (
            GRAPH,
            "kind: graph",
            "kind: magentic\nlimits: {max_turns: 1}",
            "4:10: limits.max_turns: a team of kind magentic",
        ),
        (GRAPH, "start: a", "limits: {max_stalls: 2}", "9:10: limits.max_stalls: only a team of kind magentic has"),
        (SWARM.replace("swarm", "magentic"), "name: b", "name: orchestrator", "6:6: agents[1].name: 'orchestrator' is"),
        (GRAPH, "kind: graph", "kind: swarm", "5:1: edges: only a team of kind graph has edges"),
        (SWARM, "[b]", "[a]", "5:26: agents[0].handoffs[0]: there is no other agent 'a'; there are: b"),
        (SWARM, "swarm", "round_robin", "5:15: agents[0].handoffs: only agents of a swarm have handoffs"),
    ],
)
def test_what_is_wrong_with_graphs_and_swarms(text: str, old: str, new: str, problem: str) -> None:
    assert old in text
    with pytest.raises(FileError) as refused:
        parse(text.replace(old, new).encode(), "t", NAMES)
    assert f"t:{problem}" in str(refused.value)


def test_all_problems_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("goal", "gaol").replace("max_turns", "turns"))
    (tmp_path / "b.yml").write_text("name: x")
    (tmp_path / "c.yaml").write_text(SMALL.format("twice"))
    (tmp_path / "d.yaml").write_text(SMALL.format("twice"))
    (tmp_path / "notes.txt").write_text("no team")
    with pytest.raises(FileError) as refused:
        in_folder(tmp_path, NAMES)
    told = [(Path(problem.file).name, problem.place.line, problem.where) for problem in refused.value.problems]
    assert told == [
        ("a.yaml", 8, "agents[0].gaol"),
        ("a.yaml", 16, "limits.turns"),
        ("b.yml", 1, "description"),
        ("b.yml", 1, "kind"),
        ("b.yml", 1, "agents"),
        ("d.yaml", 1, "name"),
    ]


def test_items_with_problems_are_not_called_missing() -> None:
    with pytest.raises(FileError) as refused:
        parse(SMALL.format("x").replace("name: a", "nmae: a").encode(), "x", NAMES)
    assert [problem.where for problem in refused.value.problems] == ["agents[0].name", "agents[0].nmae"]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileError, match="cannot be read"):
            read_file(path, NAMES)
    with pytest.raises(FileError, match="cannot be read"):
        in_folder(tmp_path / "nowhere", NAMES)


def test_a_folder_adds_teams_and_replaces_those_of_the_gallery(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SMALL.format("mine"))
    (tmp_path / "duo.yaml").write_text(SMALL.format("duo"))
    teams = {team.name: team for team in all_teams(tmp_path, NAMES)}
    assert {"scripted", "scripted-autogen", "scripted-tools", "startup", "mine"} <= teams.keys()
    assert [agent.name for agent in teams["duo"].agents] == ["a"]


def test_the_gallery_fits_the_published_schema() -> None:
    checker = Draft202012Validator(schema())
    Draft202012Validator.check_schema(schema())
    folder = Path("hub/engine/teams/gallery")
    found = gallery(NAMES)
    assert len(found) == len(list(folder.glob("*.yaml")))
    for team in found:
        checker.validate(yaml_source.read((folder / team.file).read_bytes()).value)
    assert not checker.is_valid({"name": "x"})
    assert not checker.is_valid(yaml_source.read(GOOD.replace("goal", "gaol").encode()).value)


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        ("{keep: last, last: 20}", None),
        ("{keep: all}", None),
        ("{keep: ends, first: 2, last: 9}", None),
        ("{keep: summary, last: 9}", None),
        ("{keep: tokens, tokens: 900}", None),
        ("{keep: last}", "13:5: agents[1].memory: to keep last, say `last`"),
        ("{keep: ends, last: 9}", "to keep ends, say `first`"),
        ("{keep: last, last: 9, tokens: 900}", "agents[1].memory.tokens: 'tokens' means nothing where last is kept"),
        ("{keep: some}", "agents[1].memory.keep: Input should be 'all'"),
        ("{keep: last, last: 0}", "agents[1].memory.last: Input should be greater than or equal to 1"),
    ],
)
def test_what_an_agent_keeps(memory: str, problem: str | None) -> None:
    text = GOOD.replace("    description: Writes.", f"    memory: {memory}").encode()
    if problem is None:
        assert parse(text, "crew.yaml", NAMES).agents[1].memory.keep in memory
        return
    with pytest.raises(FileError) as caught:
        parse(text, "crew.yaml", NAMES)
    assert problem in str(caught.value)
