"""Reads specs from stdin, one JSON text a line, and runs those that are taken, as a hub would, under an audit hook.

Prints how many it read and how many it took; ends with 3 at the first event that data has no business with.
"""

import asyncio
import json
import os
import sys

from hub.domain.team import TeamSpec
from hub.engine import catalog
from hub.engine.forms import FileError
from hub.engine.models.registry import Models, ScriptedModel
from hub.engine.teams.files import parse
from hub.engine.teams.rules import Names
from hub.engine.tools.registry import Tools
from tests.engine import driving

NAMES = Names(models=["scripted"], tools=["clock"])
WARM = "name: w\ndescription: d\nkind: selector\nagents: [{name: a, tools: [clock]}, {name: b}]\n"
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


def main() -> None:
    guard = Guard()
    sys.addaudithook(guard)
    with asyncio.Runner() as runner:  # its loop opens sockets: before the hook is armed
        for warm in ("", "a: !x 1", "a: [", "a: \x00", "name: x\nmodel: gpt", WARM):
            if (spec := offer(warm)) is not None:  # the libraries import lazily, too
                runner.run(talk(spec))
        lines = sys.stdin.read().splitlines()
        guard.armed = True
        taken = 0
        try:
            for line in lines:
                if (spec := offer(json.loads(line))) is not None:
                    runner.run(talk(spec))
                    taken += 1
        finally:
            guard.armed = False
    sys.stdout.write(f"{len(lines)} {taken}")


if __name__ == "__main__":
    main()
