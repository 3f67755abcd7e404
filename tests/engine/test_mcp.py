"""MCP servers: real ones, as processes and over HTTP, and everything they may do to a hub."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from hub.cli.tools import cli
from hub.engine.forms import FileError
from hub.engine.mcp.form import parse_servers, placeholder, schema
from hub.engine.mcp.http import MAX_ANSWER
from hub.engine.mcp.server import McpServer
from hub.engine.tools import ToolKind
from hub.engine.tools.outcome import MAX_RESULT, ToolOutcome
from hub.engine.tools.registry import Tools
from tests.engine.driving import CONTEXT
from tests.engine.mcp_servers import official

SERVERS = Path(__file__).with_name("mcp_servers.py")
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/", "GIVEN": "yes", "HIDDEN": "no", "TOKEN": "Bearer t"}
RAW = f"""
servers:
  raw:
    command: [{sys.executable}, {SERVERS}, raw, OPTION]
    env: [GIVEN]
    tools:
      echo: {{kind: safe, approve_if: 'key == "all"', teams: [team]}}
      env: {{}}
      pid: {{}}
      die: {{}}
      hang: {{timeout_s: 0.2}}
      flood: {{}}
      break: {{}}
      picture: {{}}
      unknown: {{}}
"""


@asynccontextmanager
async def running(text: str) -> AsyncIterator[tuple[Tools, McpServer]]:
    """The tools of one server, which is kept running."""
    ((name, form),) = parse_servers(text.encode(), "mcp.yaml").items()
    tools = Tools([placeholder(name, tool, form) for tool in form.tools])
    server = McpServer(name, form, ENVIRONMENT.get)
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(server.run(tools.put))
        async with asyncio.timeout(60):  # on a busy machine it takes longer than a call has patience
            while not server.connected and server.restarts == 0:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        try:
            yield tools, server
        finally:
            keeping.cancel()
    await tools.aclose()


async def call(tools: Tools, name: str, key: object = "") -> ToolOutcome:
    return await tools.call(f"raw__{name}", {"key": str(key)}, CONTEXT)


async def processes(tools: Tools) -> list[int]:
    """The server's process and that of its child."""
    pids: list[int] = json.loads((await call(tools, "pid")).text)
    return pids


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


async def test_a_process_does_what_it_is_asked_and_nothing_it_does_is_more_than_an_error() -> None:
    async with running(RAW) as (tools, server):
        assert await call(tools, "echo", "hello") == ToolOutcome("hello", is_error=False)
        assert server.connected
        (echo,) = tools.only(["raw__echo"])
        assert (echo.description, echo.parameters["properties"]) == ("Says it again.", {"key": {"type": "string"}})
        # The terms are the operator's.
        assert (echo.kind, echo.teams) == (ToolKind.SAFE, frozenset({"team"}))
        assert tools.kind("raw__echo", {"key": "all"}) is ToolKind.APPROVAL
        assert tools.kind("raw__env") is ToolKind.APPROVAL
        given: dict[str, str] = json.loads((await call(tools, "env")).text)
        assert given.keys() - {"LC_CTYPE"} == {"PATH", "HOME", "GIVEN"}
        assert (await call(tools, "picture")).text == "[image/png, 6 bytes]\n[a: file:///a]"
        assert (await call(tools, "hang")).text == "raw__hang did not finish in 0.2 s"
        assert await call(tools, "echo", "\ud800") == ToolOutcome(
            "invalid arguments: they hold what JSON does not have", is_error=True
        )
        assert (await call(tools, "break")).text == "the MCP server raw gave a malformed result"
        assert await call(tools, "unknown") == ToolOutcome("there is no such tool", is_error=True)
        assert len((await call(tools, "flood", MAX_RESULT + 5)).text) == MAX_RESULT
        assert (await call(tools, "echo", "still there")).text == "still there"
        assert server.restarts == 0


async def test_one_that_dies_is_an_error_and_comes_back() -> None:
    async with running(RAW) as (tools, server):
        first = await processes(tools)
        lost = "the MCP server raw was lost during the call: whether it took effect is unknown"
        assert await call(tools, "die") == ToolOutcome(lost, is_error=True)
        assert (await call(tools, "echo", "back")).text == "back"  # it waits for the new one
        await gone(first)
        second = await processes(tools)
        assert not set(first) & set(second)
        os.kill(second[0], signal.SIGKILL)
        async with asyncio.timeout(30):
            while server.restarts < 2:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        await gone(second)
        assert (await call(tools, "echo", "back again")).text == "back again"
        assert server.restarts == 2
        last = await processes(tools)
    await gone(last)


async def test_a_message_longer_than_any_that_is_taken_ends_the_connection() -> None:
    async with running(RAW) as (tools, server):
        assert "was lost during the call" in (await call(tools, "flood", 9_000_000)).text
        assert (await call(tools, "echo", "back")).text == "back"
        assert server.restarts == 1


async def test_one_that_does_not_leave_is_killed() -> None:
    loop = asyncio.get_running_loop()
    async with running(RAW.replace("OPTION", "--stubborn")) as (tools, _):
        pids = await processes(tools)
        began = loop.time()
    assert loop.time() - began < 15
    await gone(pids)


async def test_one_that_cannot_be_started_is_not_available() -> None:
    text = RAW.replace(sys.executable, "/no/such/program").replace("raw, OPTION", "raw")
    async with running(text) as (tools, server):
        async with asyncio.timeout(30):
            while server.restarts < 2:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        waiting = asyncio.create_task(call(tools, "echo"))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done  # it may be there in a moment
        server._settled.set()  # as when it has failed often
        assert (await waiting).text == "the MCP server raw is not available"


HUB = """
import asyncio, sys
from hub.engine.mcp.form import parse_servers
from hub.engine.mcp.server import McpServer
from hub.engine.tools.registry import Tools
from tests.engine.driving import CONTEXT

async def main():
    ((name, form),) = parse_servers(sys.stdin.buffer.read(), "x").items()
    tools, server = Tools(), McpServer(name, form, {"PATH": "/usr/bin:/bin"}.get)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run(tools.put))
        await asyncio.sleep(0)
        print("pids", (await tools.call("raw__pid", {}, CONTEXT)).text, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_hub_that_is_killed_leaves_nobody_behind() -> None:
    hub = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HUB, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert hub.stdin is not None
    assert hub.stdout is not None
    hub.stdin.write(RAW.replace("OPTION", "--stubborn").replace("env: [GIVEN]", "").encode())
    hub.stdin.write_eof()
    try:
        async with asyncio.timeout(30):
            while not (line := await hub.stdout.readline()).startswith(b"pids"):
                assert line, "it has ended"
        pids: list[int] = json.loads(line[4:])
        assert all(map(alive, pids))
    finally:
        hub.kill()
        await hub.wait()
    await gone(pids)


# ---- the official package, at both ends


async def check_official(tools: Tools, name: str) -> None:
    async def ask(tool: str, **arguments: Any) -> ToolOutcome:
        return await tools.call(f"{name}__{tool}", arguments, CONTEXT)

    assert await ask("add", a=1, b=2) == ToolOutcome("3", is_error=False)
    assert (await ask("add", a="x", b=2)).is_error
    assert (await ask("slow", seconds=30)).text == f"{name}__slow did not finish in 0.2 s"
    assert (await ask("add", a=3, b=4)).text == "7"
    (add,) = tools.only([f"{name}__add"])
    assert add.description == "Adds two numbers."
    assert add.parameters["required"] == ["a", "b"]


async def test_a_process_of_the_official_package() -> None:
    text = f"""
servers:
  official:
    command: [{sys.executable}, {SERVERS}]
    tools: {{add: {{kind: safe}}, slow: {{timeout_s: 0.2}}}}
"""
    async with running(text) as (tools, _):
        await check_official(tools, "official")


@asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[int]:
    """An ASGI application on a port."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="fake mcp server")
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


def over_http(port: int) -> str:
    return f"""
servers:
  far:
    url: http://127.0.0.1:{port}/mcp
    headers_env: {{Authorization: TOKEN}}
    tools: {{add: {{kind: safe}}, slow: {{timeout_s: 0.2}}}}
"""


async def test_an_address_of_the_official_package_that_goes_away_and_comes_back() -> None:
    seen: list[bytes] = []

    def watched() -> Any:
        app = official().streamable_http_app()

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            seen.extend(value for name, value in scope.get("headers", ()) if name == b"authorization")
            await app(scope, receive, send)

        return asgi

    async with served(watched()) as port:
        async with running(over_http(port)) as (tools, server):
            await check_official(tools, "far")
        assert set(seen) == {b"Bearer t"}
    async with running(over_http(port)) as (tools, server):
        async with asyncio.timeout(30):
            while server.restarts < 1:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        async with served(watched(), port):
            assert (await tools.call("far__add", {"a": 1, "b": 2}, CONTEXT)).text == "3"
        lost = await tools.call("far__add", {"a": 1, "b": 2}, CONTEXT)
        assert lost.is_error
        assert "the MCP server far" in lost.text


async def test_an_answer_over_http_is_bounded() -> None:
    sent = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        if scope["type"] != "http":
            return

        async def hung_up() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(hung_up(), name="fake listening")
            while not listening.done():
                sent += 1_000_000
                await send({"type": "http.response.body", "body": b" " * 1_000_000, "more_body": True})
                await asyncio.sleep(0)

    async with served(endless) as port, running(over_http(port)) as (_, server):
        async with asyncio.timeout(30):
            while server.restarts < 1:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        assert not server.connected
    assert MAX_ANSWER < sent < 10 * MAX_ANSWER


# ---- the file


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("servers: {a: {tools: {x: {}}}}", "servers.a: a server has a `command` or a `url`"),
        ("servers: {a: {url: 'http://h/', command: [x], tools: {x: {}}}}", "a server has a `command` or a `url`"),
        ("servers: {a: {url: 'http://u:p@h/', tools: {x: {}}}}", "servers.a.url: an address is written"),
        ("servers: {a: {url: 'file:///etc', tools: {x: {}}}}", "servers.a.url: an address is written"),
        ("servers: {a: {url: 'http://h/', env: [X], tools: {x: {}}}}", "only a server with a `command` has env"),
        ("servers: {a: {command: [x], headers_env: {A: B}, tools: {x: {}}}}", "with a `url` has headers_env"),
        ("servers: {a: {command: [x], env: [HUB_SECRET_KEYS], tools: {x: {}}}}", "HUB_SECRET_KEYS is the hub's own"),
        ("servers: {a: {command: [x], env: [GONE], tools: {x: {}}}}", "there is no environment variable GONE"),
        ("servers: {a: {command: [x], tools: {}}}", "servers.a.tools"),
        ("servers: {a: {command: [x], tools: {x: {kind: question}}}}", "servers.a.tools.x.kind"),
        ("servers: {a: {command: [x], tools: {x: {approve_if: 'f()'}}}}", "`f()` is no condition"),
        ("servers: {a: {command: [x], tools: {x.y: {}, x/y: {}}}}", "it would be called 'a__x_y', like 'x.y'"),
        (f"servers: {{a: {{command: [x], tools: {{{'x' * 70}: {{}}}}}}}}", "longer than the 64 characters"),
        ("servers: {a: {command: [x], tools: {x: {}}, timeout: 5}}", "no such key; do you mean 'timeout_s'?"),
        ("servers: {A: {command: [x], tools: {x: {}}}}", "servers.A"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(text: str, what: str) -> None:
    with pytest.raises(FileError) as error:
        parse_servers(text.encode(), "mcp.yaml", lambda _: None)
    assert what in str(error.value)
    assert str(error.value).startswith("mcp.yaml:1:")


def test_the_file_has_a_schema() -> None:
    assert {"command", "url", "tools"} <= schema()["$defs"]["McpServerForm"]["properties"].keys()


async def test_the_command_shows_what_a_server_offers(tmp_path: Path) -> None:
    (tmp_path / "mcp.yaml").write_text(RAW.replace("env: [GIVEN]", ""))

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, list(words), env={"HUB_MCP_FILE": str(tmp_path / "mcp.yaml")})

    offered = await asyncio.to_thread(run, "offered", "raw")
    assert "echo                     Says it again." in offered.output.splitlines()
    listed = await asyncio.to_thread(run, "list")
    assert "raw__env                 approval  env of the MCP server raw" in listed.output.splitlines()
    unknown = await asyncio.to_thread(run, "offered", "row")
    assert str(unknown.exception) == "HUB_MCP_FILE has no server 'row'; do you mean 'raw'?"
