"""Teams whose agents speak in the order of a graph: one turn is one wave of agents that are ready, side by side."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from autogen_agentchat.base import ChatAgent
from autogen_agentchat.teams import DiGraph, GraphFlow
from autogen_agentchat.teams._group_chat._graph._digraph_group_chat import DiGraphEdge, DiGraphNode, GraphFlowManager

from hub.domain.team import TeamSpec

PROGRESS = ("remaining", "enqueued_any", "ready", "fired")
"""What of a manager's state tells how far the graph has come; without it the graph begins anew."""


class HubGraphManager(GraphFlowManager):
    """Remembers which activation groups have fired, too: AutoGen forgets it, and cyclic graphs then end early."""

    async def save_state(self) -> Mapping[str, Any]:
        fired = {target: sorted(groups) for target, groups in self._triggered_activation_groups.items()}
        return {**await super().save_state(), "fired": fired}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        if "ready" in state:
            await super().load_state(state)
            self._triggered_activation_groups = {target: set(groups) for target, groups in state["fired"].items()}


class HubGraph(GraphFlow):
    """One wave of a graph."""

    def __init__(self, agents: list[ChatAgent], spec: TeamSpec) -> None:
        super().__init__(agents, graph_of(spec), max_turns=1)
        self._base_group_chat_manager_class = HubGraphManager

    def _create_group_chat_manager_factory(self, *given: Any, **named: Any) -> Callable[[], HubGraphManager]:
        make: Callable[..., HubGraphManager] = HubGraphManager
        return partial(make, *given, **named, graph=self._graph)


def graph_of(spec: TeamSpec) -> DiGraph:
    """AutoGen's graph. ValueError for one that cannot be carried out."""
    nodes = {agent.name: DiGraphNode(name=agent.name) for agent in spec.agents}
    for edge in spec.edges:
        nodes[edge.source].edges.append(
            DiGraphEdge(
                target=edge.target,
                condition=edge.when,
                activation_group=edge.group,
                activation_condition="any" if edge.any_of_group else "all",
            )
        )
    graph = DiGraph(nodes=nodes, default_start_node=spec.start)
    graph.graph_validate()
    return graph
