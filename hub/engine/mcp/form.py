"""The form of the file of MCP servers (`hub tool mcp-schema` prints its JSON Schema)."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from hub.engine.forms import Complaint, Form, complained, file_bytes, read_form
from hub.engine.tools.conditions import Condition
from hub.engine.tools.function import MAX_APPROVERS
from hub.engine.tools.tool import Tool, ToolKind
from hub.engine.yaml_source import Path

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
MAX_NAME = 64  # what model providers take as the name of a tool

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


def _condition(text: str) -> str:
    Condition.read(text)
    return text


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("an address is written http(s)://host[:port]/path, without a user")
    return text


Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
Seconds = Annotated[float, Field(gt=0, le=3600, strict=False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class McpToolForm(Form):
    """A tool of the server that agents may call, and on what terms. What the server says about it is not asked."""

    kind: Annotated[
        Literal["safe", "effect", "approval"],
        Field(description="safe: changes nothing. effect: called once. approval: only after people have agreed."),
    ] = "approval"
    approve_if: Annotated[
        Annotated[str, AfterValidator(_condition)] | None,
        Field(description="A condition on the arguments under which a call needs approval."),
    ] = None
    approvers: Annotated[int, Field(ge=1, le=MAX_APPROVERS, description="How many people have to approve.")] = 1
    by_others: Annotated[bool, Field(description="Not by the user whose message asked for the run.")] = False
    teams: Annotated[tuple[Name, ...] | None, Field(description="Teams that may name it; else all.")] = None
    users: Annotated[tuple[Name, ...] | None, Field(description="Users it may be called for; else all.")] = None
    timeout_s: Annotated[Seconds | None, Field(description="Of a call; else the server's.")] = None


class McpServerForm(Form):
    """A server: a command that the hub starts, or an address."""

    command: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1)], ...] | None,
        Field(min_length=1, description="A program and its arguments, which speaks MCP on its standard streams."),
    ] = None
    folder: Annotated[str | None, Field(description="Where the command runs.")] = None
    env: Annotated[
        tuple[Variable, ...],
        Field(description="Variables of the hub's environment that the command gets, beside PATH, HOME and LANG."),
    ] = ()
    url: Annotated[
        Annotated[str, AfterValidator(_address)] | None, Field(description="An address that speaks streamable HTTP.")
    ] = None
    headers_env: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,100}$")], Variable],
        Field(
            default_factory=dict,
            description="Headers of its requests, each with the environment variable that holds the value.",
        ),
    ]
    timeout_s: Annotated[Seconds, Field(description="Of a call.")] = 60.0
    start_s: Annotated[Seconds, Field(description="Until it answers, after a start.")] = 30.0
    tools: Annotated[dict[Name, McpToolForm], Field(min_length=1, max_length=200)]


class McpForm(Form):
    """The MCP servers whose tools agents of this hub may call."""

    servers: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")], McpServerForm],
        Field(min_length=1, max_length=100),
    ]


def tool_name(server: str, tool: str) -> str:
    """What teams and models know a server's tool by."""
    return f"{server}__{_UNFIT.sub('_', tool)}"


def placeholder(server: str, name: str, form: McpServerForm) -> Tool:
    """The tool before its server has told what it takes; it has no function yet."""
    terms = form.tools[name]
    return Tool(
        name=tool_name(server, name),
        description=f"{name} of the MCP server {server}",
        parameters={"type": "object", "properties": {}, "required": []},
        kind=ToolKind(terms.kind),
        timeout_s=terms.timeout_s or form.timeout_s,
        approve_if=Condition.read(terms.approve_if) if terms.approve_if is not None else None,
        approvers=terms.approvers,
        by_others=terms.by_others,
        teams=frozenset(terms.teams) if terms.teams is not None else None,
        users=frozenset(terms.users) if terms.users is not None else None,
    )


def read_servers(
    path: FilePath | None, variable: Callable[[str], str | None] | None = None
) -> dict[str, McpServerForm]:
    """The servers in the file at `path`, by name; none when there is no file.

    With `variable` every variable that the file names must be in the environment. Raises FileError.
    """
    return parse_servers(file_bytes(path), str(path), variable) if path is not None else {}


def parse_servers(
    text: bytes, file: str, variable: Callable[[str], str | None] | None = None
) -> dict[str, McpServerForm]:
    """The servers in a text, as `read_servers` takes them."""
    form, document = read_form(text, file, McpForm)
    complained(_complaints(form), document, file)
    if variable is not None:
        complained(_missing(form, variable), document, file)
    return form.servers


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return {"$schema": SCHEMA_ID, **McpForm.model_json_schema()}


def _complaints(form: McpForm) -> Iterator[Complaint]:
    for name, server in form.servers.items():
        path: Path = ("servers", name)
        if (server.command is None) is (server.url is None):
            yield path, "a server has a `command` or a `url`"
        others = ("folder", "env") if server.command is None else ("headers_env",)
        for key in others:
            if key in server.model_fields_set:
                yield (*path, key), f"only a server with a `{'url' if key == 'headers_env' else 'command'}` has {key}"
        names: dict[str, str] = {}
        for tool in server.tools:
            known = tool_name(name, tool)
            if len(known) > MAX_NAME:
                yield (*path, "tools", tool), f"{known!r} is longer than the {MAX_NAME} characters that models take"
            if (other := names.setdefault(known, tool)) != tool:
                yield (*path, "tools", tool), f"it would be called {known!r}, like {other!r}"
        for index, wanted in enumerate(server.env):
            yield from _own((*path, "env", index), wanted)
        for header, wanted in server.headers_env.items():
            yield from _own((*path, "headers_env", header), wanted)


def _own(path: Path, name: str) -> Iterator[Complaint]:
    if name.startswith("HUB_") and not name.startswith("HUB_MCP_"):
        yield path, f"{name} is the hub's own: it would go to the server"


def _missing(form: McpForm, variable: Callable[[str], str | None]) -> Iterator[Complaint]:
    for name, server in form.servers.items():
        wanted: list[tuple[Path, str]] = [(("env", index), one) for index, one in enumerate(server.env)]
        wanted += [(("headers_env", header), one) for header, one in server.headers_env.items()]
        for path, one in wanted:
            if not variable(one):
                yield ("servers", name, *path), f"there is no environment variable {one}, or it is empty"
