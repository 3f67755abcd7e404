"""One MCP server: connected, asked for its tools, and connected again when it is gone."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace

import anyio
import httpx2
import orjson
import structlog
from mcp import Client, MCPError
from mcp.client._transport import TransportStreams
from mcp_types import (
    CONNECTION_CLOSED,
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from mcp_types import Tool as OfferedTool
from pydantic import ValidationError

from hub.engine.mcp.form import McpServerForm, placeholder
from hub.engine.mcp.http import http_transport
from hub.engine.mcp.stdio import stdio_transport
from hub.engine.tools.outcome import MAX_RESULT, ToolError
from hub.engine.tools.tool import Arguments, Function, Tool, ToolContext

CHECK_S = 30.0  # how late it is noticed that a server hangs, or has other tools
CHECK_TIMEOUT_S = 15.0
PATIENCE_S = 5.0  # a call waits so long for a server that is being started
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 10.0, 30.0, 60.0)
LIVED_S = 30.0  # who has lived so long is started again at once
MAX_PAGES = 100
MAX_DESCRIPTION = 4_000
MAX_SCHEMA = 100_000
INHERITED = ("PATH", "HOME", "LANG")

Publish = Callable[[Tool], None]


class McpServer:
    """A server of the operator's file.

    A call when it is not there is an error that says so. Nothing that a server says about its tools is believed but
    their descriptions and schemas.
    """

    def __init__(self, name: str, form: McpServerForm, variable: Callable[[str], str | None]) -> None:
        """`variable` gives an environment variable."""
        self.name = name
        self._form = form
        self._variable = variable
        self._client: Client | None = None
        self._lost = asyncio.Event()
        self._settled = asyncio.Event()
        self._tools: dict[str, Tool] = {}
        self._functions = {tool: self._function(tool) for tool in form.tools}
        self._log = structlog.get_logger("hub.mcp").bind(server=name)
        self.restarts = 0

    @property
    def connected(self) -> bool:
        """Whether it can be called."""
        return self._client is not None

    async def run(self, publish: Publish) -> None:
        """Keep it connected; `publish` gets its tools whenever something about them has changed. Ends only by
        cancellation, with the process and all that it has started."""
        for tool in self._form.tools:
            publish(self._as_offered(tool, None))  # from now on a call waits for the start
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._live(publish)
                self._log.warning("mcp_server_lost")
            except Exception as e:  # noqa: BLE001 - boundary: whatever a server does, it is tried again
                self._log.warning("mcp_server_failed", error=first_error(e))
            self._lose()
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # a connection that was just failing has swallowed it
            failures = 1 if time.monotonic() - began > LIVED_S else failures + 1
            self.restarts += 1
            pause = PAUSES_S[min(failures, len(PAUSES_S)) - 1]
            if pause > PATIENCE_S:
                self._settled.set()
            await asyncio.sleep(pause)

    async def offers(self) -> list[OfferedTool]:
        """What it offers, for an operator to choose from: it is connected for this only. Raises whatever goes wrong."""
        async with asyncio.timeout(self._form.start_s), Client(self._transport(), cache=None) as client:
            return list((await _listed(client)).values())

    async def _live(self, publish: Publish) -> None:
        """From a start to its end."""
        self._lost.clear()
        async with asyncio.timeout(self._form.start_s) as starting, Client(self._transport(), cache=None) as client:
            await self._learn(client, publish)
            starting.reschedule(None)
            self._client = client
            self._settled.set()
            self._log.info("mcp_server_connected")
            while not self._lost.is_set():
                try:
                    async with asyncio.timeout(CHECK_S):
                        await self._lost.wait()
                except TimeoutError:
                    async with asyncio.timeout(CHECK_TIMEOUT_S):
                        await self._learn(client, publish)

    def _transport(self) -> AbstractAsyncContextManager[TransportStreams]:
        form = self._form
        if form.command is not None:
            env = {name: value for name in (*INHERITED, *form.env) if (value := self._variable(name)) is not None}
            return stdio_transport(form.command, env, form.folder, said=self._said, gone=self._lose)
        assert form.url is not None
        headers = {header: self._variable(name) or "" for header, name in form.headers_env.items()}
        return http_transport(form.url, headers)

    async def _learn(self, client: Client, publish: Publish) -> None:
        offered = await _listed(client)
        for name in self._form.tools:
            tool = self._as_offered(name, offered.get(name))
            if self._tools.get(name) == tool:
                continue
            if name not in offered:
                self._log.warning("mcp_tool_missing", tool=name, offered=sorted(offered)[:50])
            self._tools[name] = tool
            publish(tool)

    def _as_offered(self, name: str, offered: OfferedTool | None) -> Tool:
        """One of its tools on the operator's terms, with the server's words and schema."""
        tool = replace(placeholder(self.name, name, self._form), run=self._functions[name])
        if offered is None:
            return tool
        schema = {"type": "object", "properties": {}, "required": [], **offered.input_schema}
        if len(orjson.dumps(schema)) > MAX_SCHEMA:
            self._log.warning("mcp_schema_too_large", tool=name)
            return tool
        return replace(tool, description=(offered.description or tool.description)[:MAX_DESCRIPTION], parameters=schema)

    def _function(self, name: str) -> Function:
        async def run(arguments: Arguments, _context: ToolContext, /) -> str:
            return await self._call(name, arguments)

        return run

    async def _call(self, name: str, arguments: Arguments) -> str:
        """What the tool says. Raises ToolError."""
        try:  # what cannot be sent would end the connection, and with it the calls of others
            json.dumps(dict(arguments), ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError):
            raise ToolError("invalid arguments: they hold what JSON does not have") from None
        if self._client is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._settled.wait()
        if (client := self._client) is None:
            raise ToolError(f"the MCP server {self.name} is not available")
        try:
            result = await client.call_tool(name, dict(arguments))
        except MCPError as e:
            if e.code == CONNECTION_CLOSED:
                raise self._gone() from e
            raise ToolError(f"the MCP server {self.name} refuses: {e.message[:MAX_DESCRIPTION]}") from e
        except (httpx2.HTTPError, OSError, anyio.ClosedResourceError, anyio.BrokenResourceError) as e:
            raise self._gone() from e
        except (ValidationError, RuntimeError) as e:
            raise ToolError(f"the MCP server {self.name} gave a malformed result") from e
        text = _text(result)
        if result.is_error:
            raise ToolError(text or f"{name} failed")
        return text

    def _lose(self) -> None:
        """It is gone: it cannot be called from now on, and calls wait a little for it to come back."""
        self._client = None
        self._settled.clear()
        self._lost.set()

    def _gone(self) -> ToolError:
        self._lose()
        return ToolError(f"the MCP server {self.name} was lost during the call: whether it took effect is unknown")

    def _said(self, line: str) -> None:
        self._log.debug("mcp_server_said", line=line)


async def _listed(client: Client) -> dict[str, OfferedTool]:
    offered: dict[str, OfferedTool] = {}
    cursor = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        offered |= {tool.name: tool for tool in page.tools}
        if (cursor := page.next_cursor) is None:
            break
    return offered


def first_error(error: BaseException) -> str:
    """The first real error in a group of them, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:500]


def _text(result: CallToolResult) -> str:
    """A result as a model reads it."""
    texts, left = [], MAX_RESULT
    for block in result.content:
        text = _of_block(block)[:left]
        left -= len(text)
        texts.append(text)
    if not texts and result.structured_content is not None:
        return orjson.dumps(result.structured_content).decode()
    return "\n".join(texts)


def _of_block(block: ContentBlock) -> str:
    match block:
        case TextContent(text=text) | EmbeddedResource(resource=TextResourceContents(text=text)):
            return text
        case ImageContent(mime_type=kind, data=data) | AudioContent(mime_type=kind, data=data):
            return f"[{kind}, {len(data) * 3 // 4:,} bytes]"
        case ResourceLink(uri=uri, name=name):
            return f"[{name}: {uri}]"
        case EmbeddedResource(resource=resource):
            return f"[{resource.mime_type or 'data'}: {resource.uri}]"
