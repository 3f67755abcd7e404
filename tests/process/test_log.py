"""A log that nobody reads stops nothing."""

import os
import time
from pathlib import Path

import redis

from hub.telemetry.stderr import Stderr
from tests.conftest import Cluster
from tests.process.serving import SECRET, serving_into

NOTICES = 4_000  # each is a line of the log, of about 60 bytes; a pipe takes 65,536


def test_lines_that_cannot_be_written_are_dropped_and_counted() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as log:
        stderr = Stderr(stream)
        stderr.lost = lambda lines: f"{lines} lost\n"
        for number in range(10_000):
            stderr.write(f"line {number}\n")
        dropped = stderr.dropped
        assert 0 < dropped < 10_000
        assert os.get_blocking(writer), "others write there, too"
        read = os.read(log.fileno(), 65_536)
        while len(read.splitlines()) < 10_000 - dropped:
            read += os.read(log.fileno(), 65_536)
        stderr.write("and on\n")
        told = os.read(log.fileno(), 65_536)
        assert told.lstrip(b"\n") == b"%d lost\nand on\n" % dropped
        stderr.write("as before\n")
        assert os.read(log.fileno(), 65_536) == b"as before\n"


def test_a_full_disk_stops_nothing() -> None:
    with Path("/dev/full").open("w") as stream:
        stderr = Stderr(stream)
        stderr.write("no place for this\n")
        assert stderr.dropped == 1


async def test_a_hub_whose_log_nobody_reads_serves_on(cluster: Cluster, valkey_server: str, data_dir: Path) -> None:
    dsn = await cluster.clone()
    reader, writer = os.pipe()
    outside = {
        "HUB_DATABASE_URL": dsn,
        "HUB_REDIS_URL": valkey_server,
        "HUB_SECRET_KEYS": SECRET,
        "HUB_REGISTRATION": "open",
    }
    try:
        with os.fdopen(writer, "w") as log, serving_into(log, data_dir, **outside) as hub:
            client = redis.Redis.from_url(valkey_server)
            for _ in range(NOTICES):
                client.publish("hub:notices", b"nobody knows this")
            deadline = time.monotonic() + 60
            while (dropped := counted(hub.get("/metrics").text)) == 0:
                assert time.monotonic() < deadline, "the log does not fill"
            assert hub.get("/healthz").status_code == 200
            assert hub.post("/v1/auth/register", name="bob", password="correct horse") == 201
            assert len(os.read(reader, 1_000_000)) > 10_000
            client.publish("hub:notices", b"nor this")
            client.close()
            told = b""
            while b"log_lines_lost" not in told:
                assert time.monotonic() < deadline, told
                told += os.read(reader, 65_536)
            assert b"node=" in told, "which of many workers says it"
            assert dropped > 0
            assert hub.end() == 0
    finally:
        os.close(reader)
        await cluster.drop(dsn)


def counted(metrics: str) -> float:
    line = next(line for line in metrics.splitlines() if line.startswith("hub_log_lines_dropped_total"))
    return float(line.rpartition(" ")[2])
