"""`dev.py load`: everybody at once, in two processes, on a hub of its own."""

import re
import subprocess
import sys
from pathlib import Path

from loadtests.tally import Histogram, Tally
from tests.process.serving import ROOT, environment


def test_a_scenario_runs_and_is_judged(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.run", "mixed", "--users", "8", "--spawn-rate", "8"]
    command += ["--run-time", "5s", "--stop-timeout", "3", "--processes", "2", "--results", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(HUB_LOAD_ACCOUNTS="1"), capture_output=True, text=True, timeout=200
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert "anomalies: none" in ended.stdout, said
    ledger = {name: int(n) for name, n in re.findall(r"([a-z][a-z ]*) (\d+)", ended.stdout.partition("ledger: ")[2])}
    assert ledger["acked"] > 0
    assert ledger["tokens"] > 0
    assert "<html" in (tmp_path / "mixed.html").read_text()


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loadtests.run", "mixd"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert "'mixed'" in ended.stderr


def test_tallies_of_several_processes_add_up() -> None:
    parts = [Tally(), Tally()]
    for number in range(1, 1001):
        parts[number % 2].times["ack"].add(number / 1000)
    parts[0].ledger["sent"], parts[1].ledger["sent"] = 2, 3
    parts[1].anomalies["gap"] = 1
    whole = Tally()
    for part in parts:
        whole.merge(part.take())
        assert not part.times
    assert whole.ledger == {"sent": 5}
    assert whole.anomalies == {"gap": 1}
    ack: Histogram = whole.times["ack"]
    for share in (0.5, 0.95, 1.0):
        assert share <= ack.percentile(share) <= share * 1.021
