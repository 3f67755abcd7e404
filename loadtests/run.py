"""Run a scenario of `loadtests/scenarios` with Locust, on a hub that runs already or on one started for it.

    python -m loadtests.run mixed
    python -m loadtests.run chat --url http://127.0.0.1:8000 --users 500 --run-time 5m --processes 2

What else is given goes to Locust (`--csv`, `--tags` …). Without `--url` a hub with its own PostgreSQL and Valkey is
started in a temporary directory, two workers, scripted model, and ended afterwards. The report with its plots is
written to loadtests/results/. Ends with 1 when anything was wrong: see `loadtests/locustfile.py`.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loadtests import temporary

HERE = Path(__file__).resolve().parent
END_S = 60.0


def scenarios() -> dict[str, dict[str, Any]]:
    """All scenarios by name."""
    return {file.stem: tomllib.loads(file.read_text()) for file in sorted((HERE / "scenarios").glob("*.toml"))}


@contextlib.contextmanager
def own_hub(
    workers: int, log_to: Path, settings: Mapping[str, str] | None = None, data: Path | None = None
) -> Iterator[str]:
    """A hub on a free port while the context lasts, with `HUB_…` settings, its data in a folder that is given or goes
    with it; its address. Raises `RuntimeError` if it does not start."""
    with temporary.folder() as folder:
        data = data or folder
        environment = {**os.environ, "HUB_DEFAULT_MODEL": "scripted", "HUB_DATA_DIR": str(data), **(settings or {})}
        command = [
            sys.executable,
            "-m",
            "hub",
            "serve",
            "--port",
            "0",
            "--workers",
            str(workers),
            "--data-dir",
            str(data),
        ]
        with (
            log_to.open("w") as log,
            subprocess.Popen(
                command, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            ) as hub,
        ):
            try:
                assert hub.stdout is not None
                address = next((line.split()[1] for line in hub.stdout if line.startswith("ready ")), None)
                if address is None:
                    raise RuntimeError(f"the hub did not start: see {log_to}")
                yield address
            finally:
                hub.send_signal(signal.SIGTERM)
                hub.wait(END_S)


def locust(url: str, name: str, scenario: dict[str, Any], asked: argparse.Namespace, more: list[str]) -> int:
    """Run Locust to its end; its exit code."""
    weights, fixed = scenario.get("weights", {}), scenario.get("fixed", {})
    users = [{"user_class_name": n, "weight": w} for n, w in weights.items()]
    users += [{"user_class_name": n, "fixed_count": c} for n, c in fixed.items()]
    report = asked.results / f"{name}.html"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless", "-H", url),
        *("-u", str(asked.users or scenario["users"]), "-r", str(asked.spawn_rate or scenario["spawn_rate"])),
        *("-t", asked.run_time or scenario["run_time"], "--stop-timeout", "15", "--only-summary"),
        *("--config-users", json.dumps(users), "--html", str(report), *more, *weights, *fixed),
    ]
    print(f"{name}: {scenario['about']}", flush=True)
    code = subprocess.run(command, cwd=HERE.parent).returncode
    print(f"report with plots: {report}")
    return code


def main() -> int:
    """Run one."""
    known = scenarios()
    parser = argparse.ArgumentParser(
        prog="dev.py load",
        description=(__doc__ or "").split("\n")[0],
        epilog="scenarios: " + "; ".join(f"{name}: {scenario['about']}" for name, scenario in known.items()),
    )
    parser.add_argument("scenario", choices=known)
    parser.add_argument("--url", help="a hub that runs already; else one is started")
    parser.add_argument("--workers", type=int, default=2, help="of the hub that is started (2)")
    parser.add_argument("--users", type=int, help="instead of the scenario's")
    parser.add_argument("--spawn-rate", type=float, help="users a second, instead of the scenario's")
    parser.add_argument("--run-time", help="such as 90s or 5m, instead of the scenario's")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where reports go (loadtests/results)")
    asked, more = parser.parse_known_args()
    asked.results.mkdir(exist_ok=True)
    with contextlib.nullcontext(asked.url) if asked.url else own_hub(asked.workers, asked.results / "hub.log") as url:
        return locust(url, asked.scenario, known[asked.scenario], asked, more)


if __name__ == "__main__":
    sys.exit(main())
