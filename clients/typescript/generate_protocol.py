"""Writes `src/protocol.ts`: the wire types of hub.v1, from the hub's own models.

`python clients/typescript/generate_protocol.py` writes the file, `--check` only compares (exit 1: it is not current).
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel

from hub.protocol import commands, events, frames, pieces, results

TARGET = Path(__file__).parent / "src" / "protocol.ts"

HEAD = """// Made by generate_protocol.py from the hub's own models. Change those, then run it again.

/** The WebSocket subprotocol. */
export const PROTOCOL = "hub.v1";
"""

DURABLE = {"session", "ts"}  # on every durable event, whatever the shared base says

RESULTS: tuple[type[BaseModel], ...] = (
    pieces.SessionData,
    results.AuthResult,
    results.PingResult,
    results.Empty,
    results.JoinResult,
    results.SendResult,
    results.RunCommandResult,
    results.SeqResult,
    results.SeqRunResult,
    results.RegisterResult,
    results.MemberResult,
    results.RunResult,
    results.TeamResult,
    results.TranscriptMessage,
    results.AttachmentResult,
    results.SearchHit,
)


def members(union: UnionType) -> tuple[type[BaseModel], ...]:
    """The models of a closed union, in their order."""
    return get_args(union)


def type_of(schema: dict[str, Any]) -> str:
    """The TypeScript type of a JSON schema as pydantic writes it. Raises ValueError for a form it does not know."""
    match schema:
        case {"$ref": str(ref)}:
            return ref.rsplit("/", 1)[1]
        case {"const": value}:
            return json.dumps(value)
        case {"enum": list(values)}:
            return " | ".join(json.dumps(value) for value in values)
        case {"anyOf": list(choices)}:
            return " | ".join(type_of(choice) for choice in choices)
        case {"type": "array", "items": dict(items)}:
            inner = type_of(items)
            return f"({inner})[]" if "|" in inner else f"{inner}[]"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": "string"}:
            return "string"
        case {"type": "integer" | "number"}:
            return "number"
        case {"type": "boolean"}:
            return "boolean"
        case {"type": "null"}:
            return "null"
    raise ValueError(f"no TypeScript for {schema}")


def declaration(name: str, schema: dict[str, Any], required: set[str], *, sent_by_hub: bool) -> str:
    """One exported type. What the hub writes is always there unless its schema says it may be left out."""
    doc = " ".join(schema.get("description", "").split())
    comment = f"/** {doc} */\n" if doc else ""
    if "enum" in schema:
        return f"{comment}export type {name} = {type_of(schema)};\n"
    lines = []
    for field, inner in schema.get("properties", {}).items():
        may_miss = not sent_by_hub or inner.get("default", inner) is None
        optional = field not in required and "const" not in inner and may_miss
        never_null = not sent_by_hub or ("default" in inner and not optional)
        kind = type_of(inner).removesuffix(" | null") if never_null else type_of(inner)
        lines.append(f"  {field}{'?' if optional else ''}: {kind};\n")
    return f"{comment}export interface {name} {{{chr(10) if lines else ''}{''.join(lines)}}}\n"


def union(name: str, names: Iterable[str]) -> str:
    """One `export type` of alternatives."""
    return f"export type {name} =\n" + "\n".join(f"  | {item}" for item in names) + ";\n"


def document() -> str:
    """The whole file."""
    durable, live = members(events.AnyDurableEvent), members(events.AnyLiveEvent)
    sent: tuple[type[BaseModel], ...] = (frames.Hello, frames.Reply, *durable, *live, *RESULTS)
    received = members(commands.AnyCommand)
    parts = [HEAD]
    done: set[str] = set()
    names = {model.__name__ for model in durable}
    for models, sent_by_hub in ((sent, True), (received, False)):
        for model in models:
            schema = model.model_json_schema(
                mode="serialization" if sent_by_hub else "validation", ref_template="#/$defs/{model}"
            )
            inner = schema.pop("$defs", {})
            for name, definition in (*inner.items(), (model.__name__, schema)):
                if name not in done:
                    done.add(name)
                    required = set(definition.get("required", ())) | (DURABLE if name in names else set())
                    parts.append(declaration(name, definition, required, sent_by_hub=sent_by_hub))
    parts.append(union("DurableEvent", (model.__name__ for model in durable)))
    parts.append(union("LiveEvent", (model.__name__ for model in live)))
    parts.append("export type AnyEvent = DurableEvent | LiveEvent;\n")
    parts.append("export type ServerFrame = Hello | Reply | AnyEvent;\n")
    parts.append(union("Command", (model.__name__ for model in received)))
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Exit code 0: written, or current."""
    text = document()
    if "--check" not in arguments:
        TARGET.write_text(text)
        return 0
    if TARGET.read_text() == text:
        return 0
    sys.stderr.write(f"{TARGET.name} is not current: run {Path(__file__).name}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
