"""`hub serve` as real processes: workers come back, nobody is left behind, nothing is lost."""

import json
import os
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from tests.embedded.test_servers import until
from tests.process.conftest import Command
from tests.process.serving import SECRET, gone, serving

pytestmark = pytest.mark.timeout(240)  # each hub is an interpreter of its own, on a busy machine


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_come_back_users_are_made_beside_it_and_a_second_hub_is_refused(
    command: Command, data_dir: Path
) -> None:
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
