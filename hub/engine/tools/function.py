"""Tools out of Python functions: the schema is that of the parameters' types, the words those of the docstring."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import to_json

from hub.engine.tools.conditions import Condition
from hub.engine.tools.tool import Arguments, BlockingFunction, Function, Tool, ToolContext, ToolKind

KindName: TypeAlias = Literal["safe", "effect", "approval", "question"]

MAX_APPROVERS = 20

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ARGUMENT = re.compile(r"^\s+(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


def tool(
    kind: KindName = "effect",
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    approve_if: str | None = None,
    approvers: int = 1,
    by_others: bool = False,
    teams: Collection[str] | None = None,
    users: Collection[str] | None = None,
) -> Callable[[Callable[..., object]], Tool]:
    """Make a tool of a function.

    Every parameter has a type, one of pydantic's; one of the type `ToolContext` is not an argument: it gets where the
    call comes from. The docstring is the description; its section `Args:` describes the arguments. An `async` function
    runs on the worker's event loop and must not block; any other runs in a thread. What it returns is the result, as
    JSON if it is not a text; `ToolError` tells the agent in its own words what went wrong.

    `kind` is `ToolKind`'s; `approve_if` a condition on the arguments, as `amount > 100`, under which a call needs
    approval; the rest as in `Tool`. Raises TypeError or ValueError for what cannot be a tool.
    """

    def made(function: Callable[..., object]) -> Tool:
        called = name or function.__name__
        if _NAME.fullmatch(called) is None:
            raise ValueError(f"{called!r} is no name for a tool: letters, digits, _ and -, at most 64")
        words, of_arguments = _docstring(inspect.getdoc(function) or "", called)
        model, context_name = _model(function, called, of_arguments)
        if not 1 <= approvers <= MAX_APPROVERS:
            raise ValueError(f"{called}: approval takes 1 to {MAX_APPROVERS} people, not {approvers}")
        condition = Condition.read(approve_if) if approve_if is not None else None
        if condition is not None and (unknown := condition.arguments - model.model_fields.keys()):
            raise ValueError(f"{called} has no argument {', '.join(sorted(unknown))}: {approve_if!r}")
        run, blocking = _functions(function, model, context_name)
        return Tool(
            name=called,
            description=words,
            parameters=_parameters(model),
            kind=ToolKind(kind),
            run=run,
            blocking=blocking,
            timeout_s=timeout_s,
            approve_if=condition,
            approvers=approvers,
            by_others=by_others,
            teams=frozenset(teams) if teams is not None else None,
            users=frozenset(users) if users is not None else None,
        )

    return made


def _functions(
    function: Callable[..., Any], model: type[BaseModel], context_name: str | None
) -> tuple[Function | None, BlockingFunction | None]:
    def given(arguments: Arguments, context: ToolContext) -> dict[str, object]:
        checked = model.model_validate(dict(arguments))
        values = {field: getattr(checked, field) for field in model.model_fields}
        return values if context_name is None else {**values, context_name: context}

    if inspect.iscoroutinefunction(function):

        async def run(arguments: Arguments, context: ToolContext, /) -> str:
            return _text(await function(**given(arguments, context)))

        return run, None

    def blocking(arguments: Arguments, context: ToolContext, /) -> str:
        return _text(function(**given(arguments, context)))

    return None, blocking


def _model(
    function: Callable[..., object], name: str, descriptions: Mapping[str, str]
) -> tuple[type[BaseModel], str | None]:
    """What the arguments must be, and which parameter takes the context."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    context_name = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{name}: {parameter} cannot be an argument of a tool")
        if parameter.name not in hints:
            raise TypeError(f"{name}: the parameter {parameter.name} has no type")
        if hints[parameter.name] is ToolContext:
            context_name = parameter.name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        described = descriptions.get(parameter.name)
        fields[parameter.name] = (hints[parameter.name], Field(default, description=described))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields), context_name


def _parameters(model: type[BaseModel]) -> dict[str, object]:
    schema = model.model_json_schema()
    return {"type": "object", "properties": {}, "required": [], **{k: v for k, v in schema.items() if k != "title"}}


def _docstring(text: str, name: str) -> tuple[str, dict[str, str]]:
    """What it says before `Args:`, and what it says there of each argument."""
    words, _, section = text.partition("\nArgs:\n")
    described: dict[str, str] = {}
    last = None
    for line in section.splitlines():
        if line and not line[0].isspace():
            break
        if (found := _ARGUMENT.match(line)) is not None:
            last = found[1]
            described[last] = found[2].strip()
        elif last is not None and line.strip():
            described[last] += f" {line.strip()}"
    return " ".join(words.split()) or name, {key: value for key, value in described.items() if value}


def _text(result: object) -> str:
    if isinstance(result, str):
        return result
    return "done" if result is None else to_json(result, fallback=str).decode()
