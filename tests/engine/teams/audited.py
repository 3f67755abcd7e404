"""Reads specs from stdin, one JSON text a line, and runs those that are taken, as a hub would, under an audit hook:
out of files, and with the address of a database as an argument also imported by an administrator.

Prints how many it read, how many it took and how many were imported; ends with 3 at the first event that data has no
business with.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from autogen_core.models import CreateResult, LLMMessage, RequestUsage

from hub.domain.team import TeamKind, TeamSpec
from hub.engine import catalog
from hub.engine.autogen.selector import speaker_selection
from hub.engine.forms import FileError
from hub.engine.models.client import StreamingClient
from hub.engine.models.registry import HostedModel, Models, ScriptedModel
from hub.engine.teams.files import parse
from hub.engine.teams.rules import Names
from hub.engine.tools.registry import Tools
from tests.engine import driving

if TYPE_CHECKING:
    from hub.app import Worker

NAMES = Names(models=["scripted"], tools=["clock"])
PLACES = ("{roles}", "{participants}", "{history}")
WARM = (
    "name: w\ndescription: d\nkind: selector\nselector_prompt: Who of {participants}?\n"
    "agents: [{name: a, tools: [clock]}, {name: b}]\n"
)
REFUSED = 20  # of the texts that are no teams, are imported, too: each is several statements
FORBIDDEN = (
    "import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.", "marshal.",
    "code.", "urllib.", "webbrowser.", "tempfile.", "glob.", "mmap.", "pty.", "signal.", "builtins.input",
)  # fmt: skip


class Guard:
    """The hook; it forbids when it is armed."""

    armed = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.armed and event.startswith(FORBIDDEN):
            os.write(2, f"{event} {arguments!r:.300}\n".encode())
            os._exit(3)


def offer(text: str) -> TeamSpec | None:
    try:
        return parse(text.encode("utf-8", "surrogatepass"), "spec.yaml", NAMES)
    except FileError:
        return None


async def talk(spec: TeamSpec) -> None:
    made = catalog.Catalog(
        Models({"scripted": ScriptedModel()}, default="scripted"), Tools(driving.builtin()), teams=[spec]
    )
    told, _ = await driving.whole_run(made.engine(spec), spec, "/script turns=2 tokens=1 tool=clock")
    assert told.texts
    if spec.kind is TeamKind.SELECTOR and spec.selector_prompt is not None:
        client = Choosing(calls_tools=False)
        await speaker_selection(spec, HostedModel("http://127.0.0.1:9", "none"), client, None)([])
        tricks = [word for word in re.findall(r"\{[^{}]*\}", spec.selector_prompt) if word not in PLACES]
        assert all(trick in asked for trick in tricks for asked in client.asked), (tricks, client.asked)


class Choosing(StreamingClient):
    """A model that is asked who speaks next, without a server."""

    asked: Sequence[str] = ()

    async def create_stream(self, messages: Sequence[LLMMessage], **_: Any) -> AsyncGenerator[str | CreateResult, None]:
        self.asked = [str(message.content) for message in messages]
        usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
        yield CreateResult(finish_reason="stop", content="nobody", usage=usage, cached=False)


async def request(worker: "Worker", key: str, text: str) -> int:
    """The status of an import, asked of the API in this process: there is no socket but the database's."""
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
             "path": "/v1/teams/crew", "raw_path": b"/v1/teams/crew", "query_string": b"", "root_path": "",
             "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}}  # fmt: skip
    answered: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": text.encode("utf-8", "surrogatepass"), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    await worker.api(scope, receive, send)
    (status,) = answered
    return status


async def imported(dsn: str, key: str, lines: list[str], guard: Guard) -> int:
    """How many of the texts became the team `crew`, which then talked as the worker had it."""
    from hub.app import Worker  # here: all of a hub is more than the other uses of this file need
    from tests.conftest import settings_for

    worker = Worker(settings_for(dsn, "redis://127.0.0.1:1", database_pool=2), "test:1:audited", asyncio.TaskGroup())
    taken = 0

    async def offer_to_hub(text: str) -> None:
        nonlocal taken
        status = await request(worker, key, text)
        assert status in (200, 400), status
        if status == 200:
            spec = worker.runs.catalog.get("crew")
            assert spec is not None
            told, _ = await driving.whole_run(
                worker.runs.catalog.engine(spec), spec, "/script turns=2 tokens=1 tool=clock"
            )
            assert told.texts
            taken += 1

    try:
        for warm in ("", "a: !x 1", "name: x\nmodel: gpt", WARM, WARM.replace("name: w", "name: crew")):
            await offer_to_hub(warm)
        guard.armed, taken = True, 0
        for line in lines:
            await offer_to_hub(json.loads(line))
    finally:
        guard.armed = False
        await worker.close()
    return taken


def main() -> None:
    guard = Guard()
    sys.addaudithook(guard)
    imports = 0
    with asyncio.Runner() as runner:  # its loop opens sockets: before the hook is armed
        for warm in ("", "a: !x 1", "a: [", "a: \x00", "name: x\nmodel: gpt", WARM):
            if (spec := offer(warm)) is not None:  # the libraries import lazily, too
                runner.run(talk(spec))
        lines = sys.stdin.read().splitlines()
        guard.armed = True
        taken: list[str] = []
        try:
            for line in lines:
                if (spec := offer(json.loads(line))) is not None:
                    runner.run(talk(spec))
                    taken.append(line)
        finally:
            guard.armed = False
        others = [line for line in lines if line not in taken][:REFUSED]
        for dsn, key in [sys.argv[1:]] if sys.argv[1:] else []:
            imports = runner.run(imported(dsn, key, [*taken, *others], guard))
    sys.stdout.write(f"{len(lines)} {len(taken)} {imports}")


if __name__ == "__main__":
    main()
