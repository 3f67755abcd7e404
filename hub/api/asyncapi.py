"""The AsyncAPI document of the WebSocket, generated from the protocol's own models."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hub.protocol import PROTOCOL
from hub.protocol.commands import AnyCommand
from hub.protocol.events import AnyEvent
from hub.protocol.frames import Hello, Reply

_SCHEMAS = "#/components/schemas/"

_DESCRIPTION = f"""\
WebSocket, subprotocol `{PROTOCOL}`. A frame of the hub holds one or more of these objects, separated by a newline;
a frame of a client holds exactly one. Events with a `seq` are durable.
"""


def describe(*, title: str, version: str) -> dict[str, Any]:
    """AsyncAPI 3.0: what a client may send, and what the hub sends."""
    commands: list[type[BaseModel]] = list(get_args(AnyCommand))
    frames: list[type[BaseModel]] = [Hello, Reply, *get_args(AnyEvent)]
    _, definitions = models_json_schema(
        [(model, "validation") for model in commands] + [(model, "serialization") for model in frames],
        ref_template=_SCHEMAS + "{model}",
    )
    messages = {model.__name__: _message(model) for model in (*commands, *frames)}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "hub": {
                "address": "/v1/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        # As seen from the hub: it receives commands and sends frames.
        "operations": {"commands": _operation("receive", commands), "frames": _operation("send", frames)},
        "components": {"messages": messages, "schemas": definitions["$defs"]},
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    doc = (model.__doc__ or "").strip()
    name = model.model_fields["type"].default
    return {
        "name": name,
        "title": model.__name__,
        "summary": doc.splitlines()[0] if doc else f"The {name} event.",
        "contentType": "application/json",
        "payload": {"$ref": f"{_SCHEMAS}{model.__name__}"},
    }


def _operation(action: str, models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/hub"},
        "messages": [{"$ref": f"#/channels/hub/messages/{model.__name__}"} for model in models],
    }
