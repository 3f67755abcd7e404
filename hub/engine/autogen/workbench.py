"""Tools as AutoGen wants them, without its deadlocks."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from autogen_core import CancellationToken
from autogen_core.tools import ParametersSchema, TextResultContent, ToolResult, ToolSchema, Workbench

from hub.engine.autogen.asking import Asking
from hub.engine.tools.outcome import ToolOutcome
from hub.engine.tools.registry import Tools
from hub.engine.tools.tool import ToolContext, ToolKind


class SafeWorkbench(Workbench):
    """Every call has a result: failed, refused, cancelled or out of time, too. Only safe tools are called here; a call
    that is the run's gets its placeholder.

    An agent waits for each of its calls for ever; one that raises, even CancelledError, would hang the whole team.
    """

    def __init__(
        self,
        tools: Tools,
        asking: Asking,
        calls: set[asyncio.Task[Any]],
        context: Callable[[str], ToolContext],
    ) -> None:
        """Calls under way are put into `calls`, for whoever ends the turn. `context` makes that of a call by its id."""
        self.tools = tools
        self.known: dict[str, str] = {}
        """The calls' own ids, by those of the model's provider, which numbers its calls from one again."""
        self.whole: dict[str, str] = {}
        """Results that agents get in part only, by the provider's ids."""
        self._context = context
        self._asking = asking
        self._calls = calls

    async def list_tools(self) -> list[ToolSchema]:
        return [
            ToolSchema(name=tool.name, description=tool.description, parameters=_parameters(tool.parameters))
            for tool in self.tools
        ]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        if (asked := self._asking.by_provider_id.get(call_id or "")) is not None:
            return ToolResult(name=name, result=[TextResultContent(content=asked.call)], is_error=False)
        try:
            outcome = await self._call(name, arguments, cancellation_token, call_id or "")
        except BaseException as e:  # noqa: BLE001 - boundary: a call that raises hangs its agent
            outcome = ToolOutcome(f"{name} was not carried out to its end: {type(e).__name__}", is_error=True)
        if outcome.shown != outcome.text and call_id is not None:
            self.whole[call_id] = outcome.text
        return ToolResult(name=name, result=[TextResultContent(content=outcome.shown)], is_error=outcome.is_error)

    async def _call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None,
        cancellation_token: CancellationToken | None,
        call_id: str,
    ) -> ToolOutcome:
        if arguments is not None and not isinstance(arguments, dict):  # models do send lists
            return ToolOutcome("invalid arguments: they are not an object", is_error=True)
        if self.tools.kind(name, arguments or {}) is not ToolKind.SAFE:
            return ToolOutcome("invalid arguments: they cannot be read", is_error=True)
        async with asyncio.TaskGroup() as tasks:
            context = self._context(self.known.get(call_id, ""))
            call = tasks.create_task(self.tools.call(name, arguments or {}, context))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            if cancellation_token is not None:
                cancellation_token.link_future(call)
        return call.result()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def reset(self) -> None: ...

    async def save_state(self) -> Mapping[str, Any]:
        """Nothing: tools keep their state in the store."""
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None: ...


def _parameters(schema: Mapping[str, object]) -> ParametersSchema:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    return ParametersSchema(type="object", properties=properties, required=required, additionalProperties=False)
