"""Locust users that speak hub.v1 over real WebSockets and judge all they see: `loadtests.users`.

    python -m loadtests.run mixed                 # a scenario, on a hub started for it
    locust -f loadtests/locustfile.py --class-picker -H http://127.0.0.1:8000     # by hand, with Locust's own page

Any anomaly (gap, duplicate, wrong text, an acknowledged message that is not in the log) makes the run fail. Locust
rounds the times it keeps; the table at the end has them exact to 2 %, over all processes of a distributed run. On a hub
that is not this machine's, `token` compares two clocks and means nothing.
"""

import os
import sys
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Locust imports this file alone

from loadtests.stage import Stage
from loadtests.users import Bot, Chatter, Mobile, Reader, SignIn, Viewer

__all__ = ["Bot", "Chatter", "Mobile", "Reader", "SignIn", "Viewer"]


@events.init.add_listener  # type: ignore[untyped-decorator]
def _build(environment: Environment, **_: Any) -> None:
    stage = Stage(environment.host or "", int(os.environ.get("HUB_LOAD_ACCOUNTS", "10")))
    vars(environment)["hub_stage"] = stage
    tally = stage.tally

    def hand_in(data: dict[str, Any], **_: Any) -> None:
        data["hub"] = tally.take()

    def collect(data: dict[str, Any], **_: Any) -> None:
        tally.merge(data["hub"])

    def verdict(**_: Any) -> None:
        if isinstance(environment.runner, WorkerRunner):
            return  # the master has it all
        print(tally.report(), flush=True)
        if tally.anomalies or environment.stats.total.num_failures or not tally.times:
            environment.process_exit_code = 1

    environment.events.report_to_master.add_listener(hand_in)  # type: ignore[no-untyped-call]
    environment.events.worker_report.add_listener(collect)  # type: ignore[no-untyped-call]
    environment.events.quitting.add_listener(verdict)  # type: ignore[no-untyped-call]
