"""Which teams there are, and what makes each of them talk.

The only place that imports lazily: a framework costs seconds and memory, and is loaded when a team needs it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hub.domain.budget import BudgetScope
from hub.domain.ids import OrganisationId
from hub.domain.team import TAKE_TURN, ImportedTeam, TeamKind, TeamSpec
from hub.engine.attached import FetchIn
from hub.engine.base import Engine
from hub.engine.bots import Bots
from hub.engine.langchain.registry import Runnables
from hub.engine.mcp.form import McpServerForm
from hub.engine.models.registry import Model, ModelDeadlines, Models
from hub.engine.scripted import ScriptedEngine
from hub.engine.teams.files import all_teams
from hub.engine.teams.rules import Names
from hub.engine.tools.registry import Tools

if TYPE_CHECKING:
    from hub.engine.autogen.engine import AutoGenEngine
    from hub.engine.langchain.agent import RunnableAgents
    from hub.engine.langchain.engine import LangChainEngine
    from hub.engine.mcp.server import McpServer
    from hub.engine.models.probing import Probe


class Catalog:
    """Teams by name and the engine of each; one per worker, to be closed at its end.

    The teams are `teams`, or all that come with the hub and those of the files in `teams_dir`; and beside these those
    that were imported (`adopt`). A file hides an imported team of its name. Raises FileError for a file that holds no
    team, and ValueError when one of `teams` names a model, a tool or a runnable that does not exist.
    """

    def __init__(
        self,
        models: Models,
        tools: Tools,
        *,
        teams: Iterable[TeamSpec] | None = None,
        teams_dir: Path | None = None,
        deadlines: ModelDeadlines | None = None,
        bots: Bots | None = None,
        runnables: Runnables | None = None,
        fetch: FetchIn | None = None,
    ) -> None:
        self._models = models
        self._runnables = runnables or Runnables()
        self.tools = tools
        self._deadlines = deadlines or ModelDeadlines()
        self._bots = bots
        self._fetch = fetch
        if teams is None:
            teams = all_teams(teams_dir, names_of(models, tools, self._runnables))
        self._teams = {team.name: team for team in teams}
        self._imported: Mapping[str, ImportedTeam] = {}
        self.limited = self._limited()  # the names of teams whose file has budgets of more than a run
        self._scripted = ScriptedEngine(tools, self._deadlines)
        self._autogen: AutoGenEngine | None = None
        self._langchain: LangChainEngine | None = None
        for team in self._teams.values():
            self._check(team)

    def adopt(self, teams: Iterable[ImportedTeam]) -> None:
        """Have these, and no others, as teams that were imported."""
        self._imported = {team.spec.name: team for team in teams}
        self.limited = self._limited()

    def names(self) -> Collection[str]:
        """The names of all teams."""
        return self._teams.keys() | self._imported.keys()

    def files(self) -> Collection[str]:
        """The names of the teams that come with the hub or out of files."""
        return self._teams.keys()

    def get(self, name: str) -> TeamSpec | None:
        """The team of that name."""
        if (team := self._teams.get(name)) is not None:
            return team
        imported = self._imported.get(name)
        return imported.spec if imported is not None else None

    def is_for(self, name: str, organisations: Collection[OrganisationId]) -> bool:
        """Whether sessions of any of these organisations may have the team."""
        team = self._imported.get(name)
        return name in self._teams or (
            team is not None and (team.organisation is None or team.organisation in organisations)
        )

    def is_open_to(self, name: str, organisation: OrganisationId) -> bool:
        """Whether a session of this organisation may be opened with the team."""
        return self.is_for(name, (organisation,)) and (name in self._teams or not self._imported[name].archived)

    def version(self, name: str) -> int | None:
        """The version of a team that was imported, as it is now."""
        return self._imported[name].version if name in self._imported and name not in self._teams else None

    def offered(self, organisations: Collection[OrganisationId]) -> list[TeamSpec]:
        """The teams that people of these organisations may open sessions with, by name."""
        imported = [
            team.spec
            for name, team in self._imported.items()
            if name not in self._teams and not team.archived and self.is_for(name, organisations)
        ]
        return sorted([*self._teams.values(), *imported], key=lambda team: team.name)

    @property
    def has_tenants(self) -> bool:
        """Whether any team is for one organisation only."""
        return any(team.organisation is not None for team in self._imported.values())

    def vocabulary(self) -> Names:
        """What teams may name here."""
        return names_of(self._models, self.tools, self._runnables)

    def model_name(self, team: TeamSpec) -> str:
        """The name of the model that a team uses, as its provider calls it."""
        return self._models.get(team.model).name

    def alias(self, team: TeamSpec) -> str:
        """The alias of the model that a team uses."""
        return team.model or self._models.default

    def engine(self, team: TeamSpec) -> Engine:
        """What makes a team talk. The first AutoGen team takes a second or two of CPU, unless `preload` was called."""
        match team.kind:
            case TeamKind.SCRIPTED:
                return self._scripted
            case TeamKind.RUNNABLE:
                if self._langchain is None:
                    from hub.engine.langchain.engine import LangChainEngine

                    self._langchain = LangChainEngine(self._runnables, self.tools, self._fetch)
                return self._langchain
            case TeamKind.ROUND_ROBIN | TeamKind.SELECTOR | TeamKind.SWARM | TeamKind.GRAPH | TeamKind.MAGENTIC:
                if self._autogen is None:
                    from hub.engine.autogen.engine import AutoGenEngine

                    self._autogen = AutoGenEngine(
                        self._models, self.tools, self._deadlines, self._bots, self._runnable_agents(), self._fetch
                    )
                return self._autogen

    def _runnable_agents(self) -> "RunnableAgents | None":
        if not self._runnables.names():
            return None
        from hub.engine.langchain.agent import RunnableAgents

        return RunnableAgents(self._runnables, self.tools, self._fetch)

    async def aclose(self) -> None:
        """Close connections to models, and end what tools still do."""
        await self.tools.aclose()
        if self._autogen is not None:
            await self._autogen.aclose()

    def _limited(self) -> Sequence[str]:
        teams = [team for name in self.names() if (team := self.get(name)) is not None]
        return [team.name for team in teams if any(limit.scope is not BudgetScope.RUN for limit in team.budgets)]

    def _check(self, team: TeamSpec) -> None:
        try:
            self._models.get(team.model)
            for agent in team.everybody():
                self._models.get(agent.model or team.model)
                if agent.nested is not None:
                    self._models.get(agent.nested.team.model)
                self.tools.only(agent.tools)
            for name in (team.runnable, *(agent.runnable for agent in team.agents)):
                if name is not None and name not in self._runnables:
                    raise KeyError(name)  # noqa: TRY301 - as the other registries do
        except KeyError as e:
            raise ValueError(f"team {team.name!r} needs {e.args[0]!r}, which does not exist") from e


def names_of(models: Models, tools: Tools, runnables: Runnables) -> Names:
    """What teams may name with these models, tools and runnables."""
    return Names(
        models=models.aliases(),
        tools=[tool.name for tool in tools if tool.name != TAKE_TURN],
        effects=[tool.name for tool in tools if not tool.is_always_safe],
        teams={tool.name: tool.teams for tool in tools if tool.teams is not None},
        runnables=runnables.names(),
        arguments={tool.name: known for tool in tools if isinstance(known := tool.parameters.get("properties"), dict)},
    )


def mcp_servers(forms: Mapping[str, McpServerForm], variable: Callable[[str], str | None]) -> "list[McpServer]":
    """The MCP servers of an operator's file, none of them started. `variable` gives an environment variable."""
    if not forms:
        return []
    from hub.engine.mcp.server import McpServer

    return [McpServer(name, form, variable) for name, form in forms.items()]


def preload() -> None:
    """Import every framework now: before forking workers, so that they share the memory, and not within a turn."""
    import hub.engine.autogen.engine  # noqa: F401


async def probe_models(models: Sequence[tuple[str, Model]], deadline_s: float) -> "list[Probe]":
    """Ask models for a word, with the clients that agents use (`hub.engine.models.probing`)."""
    from hub.engine.models.probing import probe

    return await probe(models, deadline_s)
