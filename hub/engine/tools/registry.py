"""The tools that agents may call, by name, and how a call is made safe."""

from collections.abc import Iterable, Iterator

import orjson
from pydantic import ValidationError

from hub.domain.errors import HubError
from hub.domain.team import Approval
from hub.engine.tools.host import Host
from hub.engine.tools.outcome import MAX_RESULT, ToolError, ToolOutcome
from hub.engine.tools.tool import Arguments, Tool, ToolContext, ToolKind

TIMEOUT_S = 60.0


class Tools:
    """Tools by name. A call has a wall-clock limit of `timeout_s` seconds, if its tool has none of its own.

    `host` carries the calls out; without one this registry has its own, and `aclose` ends it.
    """

    def __init__(self, tools: Iterable[Tool] = (), *, timeout_s: float = TIMEOUT_S, host: Host | None = None) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._timeout_s = timeout_s
        self.host = host or Host()

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def only(self, names: Iterable[str]) -> "Tools":
        """The tools with these names, as they are now. KeyError names one that does not exist."""
        return Tools([self._tools[name] for name in names], timeout_s=self._timeout_s, host=self.host)

    def tightened(self, approvals: Iterable[Approval]) -> "Tools":
        """These tools, of which a team wants some calls approved."""
        wanted = {approval.tool: approval for approval in approvals}
        if not wanted:
            return self
        tools = [tool.tightened(wanted[tool.name]) if tool.name in wanted else tool for tool in self]
        return Tools(tools, timeout_s=self._timeout_s, host=self.host)

    def beside(self, tools: Iterable[Tool]) -> "Tools":
        """These and other tools."""
        return Tools([*self, *tools], timeout_s=self._timeout_s, host=self.host)

    def put(self, tool: Tool) -> None:
        """Add a tool, or have it take the place of the one of its name, for the turns that begin after this."""
        self._tools[tool.name] = tool

    def get(self, name: str) -> Tool | None:
        """The tool of that name, as it is now."""
        return self._tools.get(name)

    def kind(self, name: str, arguments: Arguments | None = None) -> ToolKind | None:
        """What a call of the tool is, with these arguments if they are known; None when there is none of that name."""
        tool = self._tools.get(name)
        if tool is None:
            return None
        return tool.kind_of_call(arguments) if arguments is not None else tool.kind

    async def call(self, name: str, arguments: Arguments, context: ToolContext) -> ToolOutcome:
        """Call a tool. Whatever it does, there is an outcome, within its limit and a third of a second; only
        cancellation is raised.

        Whoever calls one that is not safe has seen to what its kind demands.
        """
        tool = self._tools.get(name)
        if tool is None:
            return ToolOutcome(f"there is no tool {name!r}", is_error=True)
        if tool.teams is not None and context.team not in tool.teams:
            return ToolOutcome(f"{name} is not for this team", is_error=True)
        if tool.users is not None and context.user not in tool.users:
            return ToolOutcome(f"{name} is not for {context.user or 'this person'}", is_error=True)
        return await self.host.carry_out(
            name, self._outcome(tool, arguments, context), context, tool.timeout_s or self._timeout_s
        )

    async def aclose(self) -> None:
        """End what is still being called, and the threads."""
        await self.host.aclose()

    async def _outcome(self, tool: Tool, arguments: Arguments, context: ToolContext) -> ToolOutcome:
        try:
            if tool.run is not None:
                text = await tool.run(arguments, context)
            elif tool.blocking is not None:
                text = await self.host.in_thread(tool.blocking, arguments, context)
            else:
                return ToolOutcome(f"{tool.name} is not available", is_error=True)
            return ToolOutcome(text[:MAX_RESULT], is_error=False)
        except ValidationError as e:
            return ToolOutcome(f"invalid arguments: {_complaints(e)}", is_error=True)
        except HubError as e:
            return ToolOutcome(e.message, is_error=True)
        except ToolError as e:
            return ToolOutcome(str(e)[:MAX_RESULT], is_error=True)
        except (Exception, SystemExit) as e:  # noqa: BLE001 - boundary: a tool's fault is an answer to its agent
            return ToolOutcome(f"{tool.name} failed: {type(e).__name__}", is_error=True)


def canonical(arguments: Arguments) -> str:
    """Arguments as the one JSON text they have: keys sorted, no blanks, UTF-8. TypeError for what JSON cannot hold."""
    return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS).decode()


def _complaints(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, entry['loc'])) or 'arguments'}: {entry['msg']}"
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    )
