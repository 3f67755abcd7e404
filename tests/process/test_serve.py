"""`hub serve` as real processes: workers come back, nobody is left behind, nothing is lost."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from examples import takeover
from hub.embedded.lock import DataDirLock
from tests.embedded.test_servers import until
from tests.process.conftest import Command
from tests.process.serving import ROOT, SECRET, Serving, environment, gone, measured, serving


def kill_and_see_it_back(hub: Serving, name: str) -> None:
    dead = hub.named(name)[0]
    os.kill(dead, signal.SIGKILL)
    until(lambda: dead not in hub.named(name) and hub.named(name) != [])


def told_of(hub: Serving) -> set[str]:
    """The workers that one scrape tells of; each once."""
    text = hub.get("/metrics").text
    nodes = re.findall(r'^hub_tasks\{node="([^"]+)"\}', text, re.MULTILINE)
    assert sorted(nodes) == sorted(set(re.findall(r'^process_open_fds\{node="([^"]+)"\}', text, re.MULTILINE)))
    assert text.count("# TYPE hub_tasks gauge") == 1
    return set(nodes)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_come_back_users_are_made_beside_it_and_a_second_hub_is_refused(
    command: Command, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(data_dir, "--workers", "2", HUB_LEASE_S="300", **measured()) as hub:
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

        assert len(hub.named("hub worker")) == 2
        # Whoever is scraped tells of both, and each of them has its own numbers.
        for _ in range(4):
            assert len(told_of(hub)) == 2
        # With leases this long only its successor can have ended those of the worker that is killed.
        asked = takeover.main(hub.url, "ann", "correct horse", "scripted", "/script turns=1 tokens=100 rate=30")
        assert asyncio.run(asked) == 0
        assert "events 1 to 11, each once, none missing" in capsys.readouterr().out
        until(lambda: len(hub.named("hub worker")) == 2)
        until(lambda: len(told_of(hub)) == 2)
        assert all(hub.get("/readyz").status_code == 200 for _ in range(4))

        for service in ("valkey-server", "postgres"):
            kill_and_see_it_back(hub, service)
        until(lambda: hub.post("/v1/auth/register", name="bob", password="correct horse") == 201)

        family = hub.family()
        assert hub.end(signal.SIGINT) == 0
        assert gone(family)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_hub_leaves_no_process_and_loses_nothing(command: Command, data_dir: Path) -> None:
    assert command("user", "create", "ann", data_dir=data_dir).returncode == 0
    with serving(data_dir, "--workers", "2") as hub:
        family = hub.family()
        assert len(family) >= 4, "two workers, PostgreSQL, Valkey"
        hub.process.kill()
        hub.process.wait()
        until(lambda: gone(family))

    with serving(data_dir) as hub:  # the same data, and the same keys
        keyed = command("key", "create", "--user", "ann", "--scopes", "sessions:read", "--json", data_dir=data_dir)
        assert keyed.returncode == 0, keyed.stderr
        key = json.loads(keyed.stdout)
        assert key["scopes"] == ["sessions:read"]
        with httpx2.Client(base_url=hub.url, headers={"Authorization": f"Bearer {key['key']}"}) as client:
            assert client.get("/v1/me").json()["name"] == "ann"


def test_on_services_of_ones_own_none_is_started_and_registration_is_closed(
    dsn: str, redis_url: str, data_dir: Path
) -> None:
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}
    with serving(data_dir, **outside) as one, serving(data_dir, **outside) as two:
        assert one.get("/readyz").status_code == two.get("/readyz").status_code == 200
        assert not data_dir.exists()
        with httpx2.Client(base_url=one.url) as client:
            stranger = {"name": "bob", "password": "correct horse"}
            assert client.post("/v1/auth/register", json=stranger).status_code == 403
        assert one.end() == 0


def test_a_signal_before_it_is_ready_ends_it_well(data_dir: Path) -> None:
    starting = subprocess.Popen(
        [sys.executable, "-m", "hub", "serve", "--port", "0", "--data-dir", str(data_dir)],
        cwd=ROOT,
        env=environment(**measured()),
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: (data_dir / "hub.lock").exists(), 60)
    starting.terminate()
    shown, _ = starting.communicate(timeout=60)
    assert (starting.returncode, shown) == (0, "")
    DataDirLock(data_dir).release()
