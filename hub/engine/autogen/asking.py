"""Calls that an agent asks for and the run carries out.

AutoGen wants a result for every call at once. It gets a placeholder, the call's own id, and its agent's turn ends
there, with a message that nobody is to see. When the turn goes on, the results stand where the placeholders were, and
the same agent's model reads them.
"""

import json
from dataclasses import dataclass, field

from autogen_core import FunctionCall

from hub.domain.ids import new_id
from hub.domain.team import AgentSpec
from hub.engine.base import AskedCall
from hub.engine.tools.registry import Tools, canonical
from hub.engine.tools.tool import ToolKind

UNREADABLE_CHARACTERS = 200  # kept of arguments that cannot be read


@dataclass(slots=True)
class Asking:
    """What an agent has asked for in this turn. `hidden` is the id of the message that ended it. `rounds` counts the
    answers of its model that called tools, those before the turn went on included."""

    rounds: int = 0
    hidden: str | None = None
    by_provider_id: dict[str, AskedCall] = field(default_factory=dict)

    @property
    def calls(self) -> tuple[AskedCall, ...]:
        return tuple(self.by_provider_id.values())

    def take(self, agent: AgentSpec, tools: Tools, call: FunctionCall) -> bool:
        """Whether this call is the run's to carry out; it is kept then."""
        arguments = _readable(call.arguments)
        if arguments is None or tools.kind(call.name, arguments) in (None, ToolKind.SAFE):
            return False
        self.by_provider_id[call.id] = AskedCall(new_id(), agent, call.name, canonical(arguments))
        return True


def harmless(call: FunctionCall) -> FunctionCall:
    """A call that AutoGen can read, or says that it cannot.

    At numbers of thousands of digits and at deep nesting it hangs for ever; the beginning of such arguments is no JSON.
    """
    try:
        json.loads(call.arguments)
    except json.JSONDecodeError:
        return call
    except (ValueError, RecursionError):
        return FunctionCall(id=call.id, name=call.name, arguments=call.arguments[:UNREADABLE_CHARACTERS])
    return call


def _readable(arguments: str) -> dict[str, object] | None:
    """A model's arguments; None for what is no object or cannot be written as JSON again."""
    try:
        parsed = json.loads(arguments)  # as AutoGen reads them
        if not isinstance(parsed, dict):
            return None
        canonical(parsed)
    except (ValueError, TypeError):
        return None
    return parsed
