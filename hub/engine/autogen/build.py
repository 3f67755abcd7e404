"""An AutoGen team for one turn, made from its spec."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, assert_never

from autogen_agentchat.base import ChatAgent
from autogen_agentchat.teams import BaseGroupChat, RoundRobinGroupChat, SelectorGroupChat, Swarm

from hub.domain.team import AgentSpec, Keep, SeatKind, TeamKind
from hub.engine.autogen.agent import HubAgent
from hub.engine.autogen.bot import BotClient
from hub.engine.autogen.context import RecentContext
from hub.engine.autogen.graph import HubGraph
from hub.engine.autogen.magentic import ORCHESTRATING, HubMagentic, Lead
from hub.engine.autogen.metered import Candidate, MeteredClient, SpeakingClient
from hub.engine.autogen.nested import RunInside, TeamAgent, asking_tools
from hub.engine.autogen.person import PersonClient
from hub.engine.autogen.seat import SeatClient
from hub.engine.autogen.selector import speaker_selection
from hub.engine.autogen.summary import summarise
from hub.engine.autogen.telling import Telling
from hub.engine.autogen.untraced import untraced
from hub.engine.autogen.workbench import SafeWorkbench
from hub.engine.base import TurnRequest
from hub.engine.bots import Bots
from hub.engine.models.client import StreamingClient
from hub.engine.models.registry import HostedModel, Model
from hub.engine.tools.registry import Tools

if TYPE_CHECKING:
    from hub.engine.langchain.agent import RunnableAgents

SEATED_CHARACTERS = 100_000
"""Of a conversation, as an agent that is no model is told it: the newest of it."""

ModelsFor = Callable[[AgentSpec | None], Sequence[Candidate]]
"""The models to ask for an agent's words, or for a question of the hub's own, in this order."""


@dataclass(frozen=True, slots=True)
class TeamBuilder:
    """Makes a team that ends after one turn of the agent whose turn it is. It is used once: state is loaded into it,
    and AutoGen's objects are not consistent after an error, a cancel or a timeout.

    `speaker` names the agent in whose turn it goes on; `bots` speak for agents with a seat, `runnables` for those
    that name one. `inside` does turns for agents that are teams, or that ask others; `is_inside` tells that this
    is one of those, and `is_last` that the run has no turn after this one.
    """

    request: TurnRequest
    model: Model
    models_for: ModelsFor
    tools: Tools
    telling: Telling
    speaker: str | None = None
    bots: Bots | None = None
    runnables: "RunnableAgents | None" = None
    inside: RunInside | None = None
    is_inside: bool = False
    is_last: bool = False

    def build(self) -> BaseGroupChat:
        """The team. ValueError for a kind that AutoGen does not make."""
        spec = self.request.team
        agents = [self._agent(agent) for agent in spec.agents]
        match spec.kind:
            case TeamKind.ROUND_ROBIN:
                first = self._first()
                return untraced(RoundRobinGroupChat([*agents[first:], *agents[:first]], max_turns=1))
            case TeamKind.SELECTOR:
                selecting = self._asking()
                choose = speaker_selection(spec, self.model, selecting, self._wanted())
                return untraced(SelectorGroupChat([*agents], selecting, max_turns=1, selector_func=choose))
            case TeamKind.SWARM:
                first = self._first() if self.request.turn == 0 or self.speaker is not None else 0
                return untraced(Swarm(agents[first:] + agents[:first], max_turns=1))
            case TeamKind.GRAPH:
                return untraced(HubGraph(agents, spec))
            case TeamKind.MAGENTIC:
                return untraced(HubMagentic(agents, self._lead()))
            case TeamKind.SCRIPTED | TeamKind.RUNNABLE:
                raise ValueError(f"a {spec.kind} team is not AutoGen's")
            case _:
                assert_never(spec.kind)

    def _agent(self, agent: AgentSpec) -> ChatAgent:
        chain, telling = self.models_for(agent), self.telling
        if agent.nested is not None:
            speaking = SpeakingClient(chain, telling, agent)
            return TeamAgent(agent, self.request, telling, self.inside, speaking)
        called_in = partial(self.request.context, agent)
        return HubAgent(
            agent,
            self._seated(agent) or self._runnable(agent) or SpeakingClient(chain, telling, agent),
            SafeWorkbench(self._tools(agent), telling.asking, telling.calls, called_in),
            self._context(agent, chain),
            telling,
        )

    def _tools(self, agent: AgentSpec) -> Tools:
        """Agents that speak side by side, or inside another's turn, call safe tools only: a turn cannot wait for one of
        them and go on with others."""
        own = self.tools.only(agent.tools).tightened(self.request.team.approvals)
        if self.is_inside or self.request.team.kind is TeamKind.GRAPH:
            own = own.only(tool.name for tool in own if tool.is_always_safe)
        return own.beside(asking_tools(agent, self.request, self.telling, self.inside))

    def _seated(self, agent: AgentSpec) -> SeatClient | None:
        """What speaks for an agent with a seat."""
        if agent.seat is None:
            return None
        match agent.seat.kind:
            case SeatKind.BOT:
                return BotClient(self.bots, self.request, agent, self.telling, self.models_for)
            case SeatKind.HUMAN:
                return PersonClient(self.request, agent, self.telling, self.models_for)
            case _:
                assert_never(agent.seat.kind)

    def _runnable(self, agent: AgentSpec) -> StreamingClient | None:
        """What speaks for an agent that names a runnable."""
        if agent.runnable is None:
            return None
        if self.runnables is None:
            raise ValueError(f"there is no runnable {agent.runnable!r}")
        return self.runnables.client(self.request, agent, self.telling)

    def _context(self, agent: AgentSpec, chain: Sequence[Candidate]) -> RecentContext:
        is_model = agent.seat is None and agent.runnable is None
        characters = chain[0].shown_characters if is_model else SEATED_CHARACTERS
        if agent.memory.keep is not Keep.SUMMARY:
            return RecentContext(agent.name, characters, agent.memory)
        summarising = partial(summarise, self._asking(), self.telling)
        return RecentContext(agent.name, characters, agent.memory, summarising)

    def _asking(self) -> MeteredClient:
        """For questions of the hub's own."""
        return MeteredClient(self.models_for(None), self.telling)

    def _lead(self) -> Lead:
        return Lead(
            self._asking(),
            SpeakingClient(self.models_for(None), self.telling, ORCHESTRATING),
            self.telling,
            asks_model=isinstance(self.model, HostedModel),
            begins=self.request.turn == 0 and not self.request.goes_on,
            answers=self.is_last,
            forced=self._wanted(),
            max_stalls=self.request.team.max_stalls,
        )

    def _wanted(self) -> str | None:
        """Who has to speak, whomever else one would choose."""
        return self.speaker or (self.request.to if self.request.turn == 0 else None)

    def _first(self) -> int:
        """The agent addressed begins a run, else the first one; the others follow in turn."""
        agents = self.request.team.agents
        if self.speaker is not None:
            return next(i for i, agent in enumerate(agents) if agent.name == self.speaker)
        first = next((i for i, agent in enumerate(agents) if agent.name == self.request.to), 0)
        return (first + self.request.turn) % len(agents)
