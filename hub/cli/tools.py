"""`hub tool`: the tools that agents of a hub with these settings may call."""

import asyncio
import json
from typing import Annotated

import typer

from hub.composition import agents
from hub.engine.catalog import mcp_servers
from hub.engine.forms import nearest
from hub.engine.loading import LoadingError, offered
from hub.engine.mcp import form
from hub.engine.tools.tool import GROUP, Tool
from hub.process.exits import CannotStart, ExitCode
from hub.settings import Settings, variable

cli = typer.Typer(help="Tools of agents.", no_args_is_help=True)


@cli.callback()
def tools() -> None:
    """Tools of agents."""


@cli.command("list")
def list_tools(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the schemas.")] = False,
    installed: Annotated[
        bool, typer.Option("--installed", help="What installed packages offer: names for HUB_TOOLS.")
    ] = False,
) -> None:
    """Show the tools that teams may name."""
    if installed:
        for entry in offered(GROUP):
            row = {"name": entry.name, "value": entry.value}
            typer.echo(json.dumps(row) if as_json else f"{entry.name:<24} {entry.value}")
        return
    try:
        found = agents.tools_of(Settings())
    except LoadingError as e:
        raise CannotStart(str(e), ExitCode.USAGE) from e
    for tool in found:
        typer.echo(json.dumps(_row(tool)) if as_json else _line(tool))


@cli.command("offered")
def offered_tools(
    server: Annotated[str, typer.Argument(help="A server of HUB_MCP_FILE.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the schemas.")] = False,
) -> None:
    """Start or ask an MCP server, and show what it offers: to choose from, for the file."""
    try:
        forms = agents.mcp_forms(Settings(), strict=True)
    except LoadingError as e:
        raise CannotStart(str(e), ExitCode.USAGE) from e
    known = {one.name: one for one in mcp_servers(forms, variable)}
    if server not in known:
        raise CannotStart(f"HUB_MCP_FILE has no server {server!r}{nearest(server, known)}", ExitCode.USAGE)
    try:
        found = asyncio.run(known[server].offers())
    except Exception as e:
        raise CannotStart(f"the server {server} does not answer: {type(e).__name__}", ExitCode.FAILED) from e
    for one in found:
        row = {"name": one.name, "description": one.description, "parameters": one.input_schema}
        line = " ".join((one.description or "").split())[:200]
        typer.echo(json.dumps(row) if as_json else f"{one.name:<24} {line}")


@cli.command("mcp-schema")
def mcp_schema() -> None:
    """Print the JSON Schema of the file of MCP servers, for editors."""
    typer.echo(json.dumps(form.schema(), indent=2))


def _row(tool: Tool) -> dict[str, object]:
    return {
        "name": tool.name,
        "kind": tool.kind.value,
        "description": tool.description,
        "parameters": tool.parameters,
        "timeout_s": tool.timeout_s,
        "approve_if": tool.approve_if.text if tool.approve_if is not None else None,
        "teams": sorted(tool.teams) if tool.teams is not None else None,
        "users": sorted(tool.users) if tool.users is not None else None,
    }


def _line(tool: Tool) -> str:
    notes = [f"approval if {tool.approve_if.text}"] if tool.approve_if is not None else []
    for what, names in (("teams", tool.teams), ("users", tool.users)):
        notes += [f"{what}: {', '.join(sorted(names))}"] if names is not None else []
    return f"{tool.name:<24} {tool.kind.value:<9} {tool.description}" + (f" ({'; '.join(notes)})" if notes else "")
