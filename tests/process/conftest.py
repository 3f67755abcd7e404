"""A data directory, and `hub` as a function."""

import io
import logging
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from hub.cli.commands import main
from tests.conftest import short_dir


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`hub` with these words, this text on its stdin and these variables, in this process."""
    configured, log_handlers = structlog.get_config(), logging.getLogger().handlers[:]
    handlers = {sig: signal.getsignal(sig) for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    def run(*words: str, stdin: str = "", data_dir: Path | None = None, **variables: str) -> Ended:
        where = ["--data-dir", str(data_dir)] if data_dir is not None else []
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["hub", *words, *where])
            patched.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in {"HUB_DEFAULT_MODEL": "scripted", **variables}.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, *capsys.readouterr())

    yield run
    structlog.configure(**configured)
    logging.getLogger().handlers[:] = log_handlers
    for sig, handler in handlers.items():
        signal.signal(sig, handler)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = short_dir()
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)
