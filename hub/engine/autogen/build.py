"""An AutoGen team for one turn, made from its spec."""

from collections.abc import Callable, Sequence
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


def build_team(
    request: TurnRequest,
    model: Model,
    models_for: ModelsFor,
    tools: Tools,
    telling: Telling,
    speaker: str | None = None,
    bots: Bots | None = None,
    runnables: "RunnableAgents | None" = None,
    *,
    inside: RunInside | None = None,
    is_inside: bool = False,
    is_last: bool = False,
) -> BaseGroupChat:
    """A team that ends after one turn of the agent whose turn it is. It is used once: state is loaded into it, and
    AutoGen's objects are not consistent after an error, a cancel or a timeout.

    `speaker` names the agent in whose turn it goes on; `bots` speak for agents with a seat, `runnables` for those
    that name one. `inside` does turns for agents that are teams, or that ask others; `is_inside` tells that this
    is one of those, and `is_last` that the run has no turn after this one.
    ValueError for a kind of team that AutoGen does not make.
    """
    spec = request.team
    agents: list[ChatAgent] = []
    for agent in spec.agents:
        chain = models_for(agent)
        if agent.nested is not None:
            agents.append(TeamAgent(agent, request, telling, inside, SpeakingClient(chain, telling, agent)))
            continue
        own = _tools(tools.only(agent.tools).tightened(spec.approvals), is_inside or spec.kind is TeamKind.GRAPH)
        own = own.beside(asking_tools(agent, request, telling, inside))
        own_client = _seated(request, agent, models_for, telling, bots) or _runnable(request, agent, telling, runnables)
        agents.append(
            HubAgent(
                agent,
                own_client or SpeakingClient(chain, telling, agent),
                SafeWorkbench(own, telling.asking, telling.calls, partial(request.context, agent)),
                _context(agent, chain, models_for, telling),
                telling,
            )
        )
    match spec.kind:
        case TeamKind.ROUND_ROBIN:
            first = _speaker(request, speaker)
            return untraced(RoundRobinGroupChat([*agents[first:], *agents[:first]], max_turns=1))
        case TeamKind.SELECTOR:
            selecting = MeteredClient(models_for(None), telling)
            wanted = speaker or (request.to if request.turn == 0 else None)
            choose = speaker_selection(spec, model, selecting, wanted)
            return untraced(SelectorGroupChat([*agents], selecting, max_turns=1, selector_func=choose))
        case TeamKind.SWARM:
            first = _speaker(request, speaker) if request.turn == 0 or speaker is not None else 0
            return untraced(Swarm(agents[first:] + agents[:first], max_turns=1))
        case TeamKind.GRAPH:
            return untraced(HubGraph(agents, spec))
        case TeamKind.MAGENTIC:
            lead = Lead(
                MeteredClient(models_for(None), telling),
                SpeakingClient(models_for(None), telling, ORCHESTRATING),
                telling,
                asks_model=isinstance(model, HostedModel),
                begins=request.turn == 0 and not request.goes_on,
                answers=is_last,
                forced=speaker or (request.to if request.turn == 0 else None),
                max_stalls=spec.max_stalls,
            )
            return untraced(HubMagentic(agents, lead))
        case TeamKind.SCRIPTED | TeamKind.RUNNABLE:
            raise ValueError(f"a {spec.kind} team is not AutoGen's")
        case _:
            assert_never(spec.kind)


def _seated(
    request: TurnRequest, agent: AgentSpec, models_for: ModelsFor, telling: Telling, bots: Bots | None
) -> SeatClient | None:
    """What speaks for an agent with a seat."""
    if agent.seat is None:
        return None
    match agent.seat.kind:
        case SeatKind.BOT:
            return BotClient(bots, request, agent, telling, models_for)
        case SeatKind.HUMAN:
            return PersonClient(request, agent, telling, models_for)
        case _:
            assert_never(agent.seat.kind)


def _context(agent: AgentSpec, chain: Sequence[Candidate], models_for: ModelsFor, telling: Telling) -> RecentContext:
    is_model = agent.seat is None and agent.runnable is None
    characters = chain[0].shown_characters if is_model else SEATED_CHARACTERS
    if agent.memory.keep is not Keep.SUMMARY:
        return RecentContext(agent.name, characters, agent.memory)
    client = MeteredClient(models_for(None), telling)
    return RecentContext(agent.name, characters, agent.memory, partial(summarise, client, telling))


def _runnable(
    request: TurnRequest, agent: AgentSpec, telling: Telling, runnables: "RunnableAgents | None"
) -> StreamingClient | None:
    """What speaks for an agent that names a runnable."""
    if agent.runnable is None:
        return None
    if runnables is None:
        raise ValueError(f"there is no runnable {agent.runnable!r}")
    return runnables.client(request, agent, telling)


def _tools(own: Tools, safe_only: bool) -> Tools:
    """Agents that speak side by side, or inside another's turn, call safe tools only: a turn cannot wait for one of
    them and go on with others."""
    if safe_only:
        return own.only(tool.name for tool in own if tool.is_always_safe)
    return own


def _speaker(request: TurnRequest, speaker: str | None) -> int:
    """The agent addressed begins a run, else the first one; the others follow in turn."""
    agents = request.team.agents
    if speaker is not None:
        return next(i for i, agent in enumerate(agents) if agent.name == speaker)
    first = next((i for i, agent in enumerate(agents) if agent.name == request.to), 0)
    return (first + request.turn) % len(agents)
