"""The embedded services as the supervisor keeps them."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.process.secret_keys import kept_secret_keys
from hub.process.services import Services
from hub.settings import parse_secret_keys
from tests.conftest import short_dir
from tests.embedded.test_servers import ping, until


@pytest.fixture
def home() -> Iterator[Path]:
    folder = short_dir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_dead_service_is_started_again_at_the_same_address(home: Path) -> None:
    services = Services(home)
    try:
        url = services.valkey()
        pid = int((home / "valkey/valkey.pid").read_text())
        os.kill(pid, signal.SIGKILL)

        def back() -> bool:
            services.revive(time.monotonic())
            try:
                return ping(url) == b"+PONG\r\n"
            except OSError:
                return False

        until(back)
        assert int((home / "valkey/valkey.pid").read_text()) != pid
    finally:
        services.stop()


def test_secret_keys_are_made_once_and_for_our_eyes_only(home: Path) -> None:
    keys = kept_secret_keys(home)
    assert kept_secret_keys(home) == keys
    assert len(parse_secret_keys(keys)) == 1
    assert (home / "secret_keys").stat().st_mode & 0o777 == 0o600
