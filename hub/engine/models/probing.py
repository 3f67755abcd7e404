"""Whether models answer: each is asked for a word, with the very client that agents use."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from autogen_core.models import UserMessage

from hub.engine.models.connections import Connections
from hub.engine.models.errors import ModelError
from hub.engine.models.hosted import HostedClient
from hub.engine.models.registry import Model, ModelDeadlines, ScriptedModel

WORDS = "Say hello."


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of asking a model: when the first token came, in seconds, or what was in the way."""

    alias: str
    first_s: float | None
    error: str | None = None
    detail: str | None = None


async def probe(models: Sequence[tuple[str, Model]], deadline_s: float) -> list[Probe]:
    """Ask all of them at once, each without retries and fallbacks. The stream is left after the first token."""
    connections = Connections()
    try:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(_probe(connections, alias, model, deadline_s)) for alias, model in models]
    finally:
        await connections.aclose()
    return [task.result() for task in asked]


async def _probe(connections: Connections, alias: str, model: Model, deadline_s: float) -> Probe:
    if isinstance(model, ScriptedModel):
        return Probe(alias, 0.0)
    asked = replace(model, deadlines=None, retries=0)
    once = HostedClient(connections, asked, ModelDeadlines(deadline_s, deadline_s))
    began = time.monotonic()
    try:
        async with aclosing(once.create_stream([UserMessage(content=WORDS, source="user")])) as stream:
            await anext(stream)
    except ModelError as e:
        return Probe(alias, None, f"{e.failure} ({e.cause})", str(e))
    return Probe(alias, time.monotonic() - began)
