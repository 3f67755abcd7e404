"""`hub serve` and the other commands as real processes, with embedded services and without."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from hub.embedded.process import command_of
from tests.conftest import Cluster, short_dir
from tests.embedded.test_servers import until

ROOT = Path(__file__).parents[2]
SECRET = "k1:0123456789abcdef0123456789abcdef"


def environment(**variables: str) -> dict[str, str]:
    """Ours without any HUB_* a developer may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return {**kept, "HUB_DEFAULT_MODEL": "scripted", "HUB_GRACE_S": "5", **variables}


def command(
    *arguments: str, stdin: str = "", data_dir: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command of `hub` that has ended."""
    where = ["--data-dir", str(data_dir)] if data_dir is not None else []
    return subprocess.run(
        [sys.executable, "-m", "hub", *arguments, *where],
        cwd=ROOT,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


class Serving:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def children(self) -> list[int]:
        """Every process below the supervisor."""
        found, parents = [], [self.process.pid]
        while parents:
            listing = Path(f"/proc/{parents.pop()}/task")
            for task in listing.glob("*/children"):
                below = [int(pid) for pid in task.read_text().split()]
                found += below
                parents += below
        return found

    def workers(self) -> list[int]:
        return [pid for pid in self.children() if Path(f"/proc/{pid}/comm").read_text().strip() == "hub worker"]

    def get(self, path: str) -> httpx2.Response:
        with httpx2.Client(base_url=self.url, timeout=10) as client:
            return client.get(path)

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(20)


@contextmanager
def serving(data_dir: Path, *arguments: str, **variables: str) -> Iterator[Serving]:
    """A hub that is ready; its log is in `serve.log`."""
    with (data_dir.parent / "serve.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hub", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments],
            cwd=ROOT,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:"), (data_dir.parent / "serve.log").read_text()
        yield Serving(process, line.split()[1])
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        process.kill()
        process.communicate()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = short_dir()
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_hub_with_embedded_services_from_its_first_start_to_its_last(data_dir: Path) -> None:
    with serving(data_dir, "--workers", "2") as hub:
        assert hub.get("/readyz").status_code == 200
        made = command(
            "user", "create", "ann", "--password-stdin", "--json", stdin="correct horse\n", data_dir=data_dir
        )
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["name"] == "ann"

        second = command("serve", "--port", "0", data_dir=data_dir)
        assert second.returncode == 4
        assert f"pid {hub.process.pid}" in second.stderr
        assert second.stderr.count("\n") == 1, "one sentence, no traceback"

        workers = hub.workers()
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: len(hub.workers()) == 2 and workers[0] not in hub.workers())
        assert all(hub.get("/readyz").status_code == 200 for _ in range(4))

        family = hub.children()
        hub.process.kill()
        hub.process.wait()
        until(lambda: all(command_of(pid) == "" for pid in family))

    with serving(data_dir) as hub:  # the same data, and the same keys
        keyed = command("key", "create", "--user", "ann", "--scopes", "sessions:read", "--json", data_dir=data_dir)
        assert keyed.returncode == 0, keyed.stderr
        key = json.loads(keyed.stdout)
        assert key["scopes"] == ["sessions:read"]
        with httpx2.Client(base_url=hub.url, headers={"Authorization": f"Bearer {key['key']}"}) as client:
            assert client.get("/v1/me").json()["name"] == "ann"
        family = hub.children()
        assert hub.end(signal.SIGINT) == 0
        assert all(command_of(pid) == "" for pid in family)


def test_on_services_of_ones_own_nothing_is_started_and_the_schema_must_fit(
    cluster: Cluster, redis_url: str, data_dir: Path
) -> None:
    dsn = cluster.named("bare")
    with asyncio.Runner() as runner:
        runner.run(cluster.execute("CREATE DATABASE bare TEMPLATE template0"))
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}

    refused = command("serve", "--port", "0", data_dir=data_dir, **outside)
    assert refused.returncode == 3
    assert "`hub migrate`" in refused.stderr
    assert "FAIL  schema" in command("doctor", **outside).stdout

    assert "went from nothing to" in command("migrate", **outside).stdout
    assert "The schema is" in command("migrate", **outside).stdout
    well = command("doctor", **outside)
    assert well.returncode == 0, well.stdout
    with serving(data_dir, **outside) as one, serving(data_dir, **outside) as two:
        assert one.get("/readyz").status_code == two.get("/readyz").status_code == 200
        assert not data_dir.exists()
        closed = {"name": "bob", "password": "correct horse"}
        with httpx2.Client(base_url=one.url) as client:
            assert client.post("/v1/auth/register", json=closed).status_code == 403
        assert one.end() == 0


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        (
            {"HUB_DATABASE_URL": "postgresql://hub@127.0.0.1:1/hub", "HUB_REDIS_URL": "redis://127.0.0.1:1"},
            2,
            "HUB_SECRET_KEYS",
        ),
        ({"HUB_SECRET_KEYS": "k1:short"}, 2, "fewer than 32 bytes"),
        ({"HUB_SECRET_KEYS": "0123456789abcdef0123456789abcdef"}, 2, "kid:secret"),
        ({"HUB_PORT": "http"}, 2, "HUB_PORT"),
        ({"HUB_WORKERS": "0"}, 2, "HUB_WORKERS"),
        (
            {
                "HUB_DATABASE_URL": "postgresql://hub@127.0.0.1:1/hub",
                "HUB_REDIS_URL": "redis://127.0.0.1:1",
                "HUB_SECRET_KEYS": SECRET,
            },
            4,
            "PostgreSQL",
        ),
        (
            {"HUB_DATABASE_URL": "mysql://db/hub", "HUB_REDIS_URL": "redis://127.0.0.1:1", "HUB_SECRET_KEYS": SECRET},
            2,
            "postgresql://",
        ),
        ({"HUB_HOST": "192.0.2.1"}, 4, "cannot listen"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    data_dir: Path, variables: dict[str, str], code: int, words: str
) -> None:
    refused = command("serve", data_dir=data_dir, **{"HUB_PORT": "0", **variables})
    assert refused.returncode == code, refused.stderr
    assert refused.stderr.startswith("hub: ")
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "short" not in refused.stderr, "no part of a secret is shown"


def test_doctor_says_what_to_do_about_services_that_do_not_answer() -> None:
    sick = command(
        "doctor",
        HUB_DATABASE_URL="postgresql://hub@127.0.0.1:1/hub",
        HUB_REDIS_URL="redis://127.0.0.1:1",
        HUB_DEFAULT_MODEL="local",
        HUB_LOCAL_MODEL_URL="http://127.0.0.1:1/v1",
    )
    assert sick.returncode == 1
    assert sick.stdout.count("FAIL") == 3
    for setting in ("HUB_DATABASE_URL", "HUB_REDIS_URL", "Check its URL"):
        assert setting in sick.stdout


def test_commands_bring_their_own_database_when_no_hub_runs(data_dir: Path) -> None:
    made = command("user", "create", "bot", "--json", data_dir=data_dir)
    assert json.loads(made.stdout)["has_password"] is False
    taken = command("user", "create", "BOT", data_dir=data_dir)
    assert (taken.returncode, taken.stderr) == (1, "hub: the name is taken\n")
    unknown = command("key", "create", "--user", "nobody-here", data_dir=data_dir)
    assert (unknown.returncode, unknown.stderr) == (1, "hub: there is no user nobody-here\n")
    healthy = command("doctor", data_dir=data_dir)
    assert healthy.returncode == 0, healthy.stdout
    assert "GB free" in healthy.stdout


def test_teams_are_listed() -> None:
    assert "duo" in [json.loads(line)["name"] for line in command("team", "list", "--json").stdout.splitlines()]
