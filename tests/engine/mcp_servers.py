"""MCP servers for tests: `python mcp_servers.py` speaks stdio, with the official package; `raw` without it, and it does
what it is told."""

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any


def official() -> Any:
    """The same tools over any transport."""
    from mcp.server import MCPServer

    server = MCPServer("official", log_level="ERROR")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes its time."""
        await asyncio.sleep(seconds)
        return "at last"

    @server.tool()
    def fail(what: str) -> str:
        """Fails."""
        raise ValueError(what)

    return server


TOOLS = {
    "echo": "Says it again.",
    "env": "Its environment.",
    "pid": "Its process and that of its child.",
    "die": "Ends at once.",
    "hang": "Never answers.",
    "flood": "Says much.",
    "break": "Answers what is no result.",
    "picture": "A picture and a link.",
}


def raw() -> None:
    """Answers line by line."""
    child = subprocess.Popen(["sleep", "600"])  # it is to end with us, whatever happens to us
    sys.stderr.write("ready\n")
    sys.stderr.flush()
    if "--slow" in sys.argv:
        time.sleep(0.3)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        answer(message, child.pid)
    if "--stubborn" in sys.argv:
        time.sleep(600)


def answer(message: dict[str, Any], child: int) -> None:
    params = message.get("params") or {}
    match message["method"]:
        case "initialize":
            result: Any = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "raw", "version": "1"},
            }
        case "tools/list":
            schema = {"type": "object", "properties": {"key": {"type": "string"}}}
            result = {"tools": [{"name": n, "description": d, "inputSchema": schema} for n, d in TOOLS.items()]}
        case "tools/call":
            called = call(params["name"], str(params.get("arguments", {}).get("key", "")), child)
            if called is None:
                return
            result = called
        case _:
            reply({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
            return
    reply({"id": message["id"], "result": result})


def call(name: str, key: str, child: int) -> Any:
    match name:
        case "echo":
            text = key
        case "env":
            text = json.dumps(dict(os.environ))
        case "pid":
            text = json.dumps([os.getpid(), child])
        case "die":
            os._exit(3)
        case "hang":
            return None
        case "flood":
            text = "x" * int(key)
        case "break":
            return {"content": "nonsense"}
        case "picture":
            picture = {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}
            return {"content": [picture, {"type": "resource_link", "uri": "file:///a", "name": "a"}]}
        case _:
            return {"content": [{"type": "text", "text": "there is no such tool"}], "isError": True}
    return {"content": [{"type": "text", "text": text}]}


def reply(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if "raw" in sys.argv:
        raw()
    else:
        official().run("stdio")
