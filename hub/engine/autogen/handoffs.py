"""Handing a conversation over to another agent, which models do by calling a tool."""

from collections.abc import Sequence

from autogen_core import FunctionCall

from hub.domain.team import AgentSpec


def handoff_tool(target: str) -> str:
    """The name of the tool that hands over to an agent."""
    return f"transfer_to_{target}"


def settled(calls: Sequence[FunctionCall], agent: AgentSpec) -> list[FunctionCall]:
    """A model's calls with at most one handoff, alone and without arguments.

    Beside other calls a handoff is left out: their results come first, and the agent may hand over afterwards. AutoGen
    hangs for ever at a handoff whose arguments are no object.
    """
    tools = {handoff_tool(target) for target in agent.handoffs}
    others = [call for call in calls if call.name not in tools]
    if others or not calls:
        return others
    return [FunctionCall(id=calls[0].id, name=calls[0].name, arguments="{}")]
