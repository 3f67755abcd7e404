"""What operators are given (settings, alerts, dashboard, examples of deployments) speaks of what there is."""

import asyncio
import json
import re
import socket
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import httpx2
import yaml

from hub.settings import Settings
from tests.driver import Door

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "operations.md").read_text()
SETTINGS = {f"HUB_{name.upper()}" for name in Settings.model_fields}
CHAT = {"HUB_CHAT_NAME", "HUB_CHAT_PASSWORD", "HUB_CHAT_URL", "HUB_CHAT_TOKEN", "HUB_CHAT_API_KEY"}  # a client's own
OTHERS = {"HUB_DATABASE_PASSWORD", "HUB_TEST_REVOCATIONS", "HUB_URL"}  # of compose.yaml, a test, the page's development


def variables(text: str) -> set[str]:
    """Those that are named in full: `HUB_OPENAI_*` and `HUB_…_PER_USER` name a family."""
    return set(re.findall(r"\bHUB_[A-Z][A-Z0-9_]*[A-Z0-9]\b(?![_*…])", text))


def section(title: str) -> str:
    return DOCS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def metrics(text: str) -> set[str]:
    """Names of the hub's metrics, of a histogram without its endings."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bhub_[a-z_]+[a-z]\b", text)}


def test_every_setting_is_in_the_table_and_every_row_is_a_setting() -> None:
    table = {name for row in section("Settings").split("\n") if row.startswith("|") for name in variables(row[:400])}
    assert sorted(SETTINGS - table) == []
    assert sorted(table - SETTINGS) == []


def test_no_document_or_deployment_names_a_variable_that_is_not_there() -> None:
    documents = [*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), *ROOT.glob("deploy/**/*.*"), *ROOT.glob("clients/*/*.md")]
    for path in [*documents, ROOT / "compose.yaml", ROOT / "Dockerfile"]:
        if path.suffix in (".md", ".yaml", ".yml", ".conf") or path.name == "Dockerfile":
            unknown = variables(path.read_text()) - SETTINGS - CHAT - OTHERS
            assert not unknown, f"{path.relative_to(ROOT)} names {sorted(unknown)}"


async def test_alerts_dashboard_and_documentation_know_the_metrics(hub: Door) -> None:
    async with httpx2.AsyncClient(base_url=hub.url) as rest:
        told = (await rest.get("/metrics")).text
    there = metrics("\n".join(line for line in told.split("\n") if line.startswith("# HELP")))
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    dashboard = (ROOT / "deploy" / "grafana" / "dashboard.json").read_text()
    for text in (rules, dashboard, section("Metrics")):
        assert sorted(metrics(text) - there) == []
    assert sorted(there - metrics(dashboard)) == []
    assert sorted(there - metrics(section("Metrics"))) == []


def test_every_alert_leads_to_a_section_that_says_what_to_do() -> None:
    sections = {
        re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", DOCS, re.M)
    }
    (group,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    assert len(group["rules"]) > 5
    for rule in group["rules"]:
        path, anchor = rule["annotations"]["runbook"].split("#")
        assert (ROOT / path).exists()
        assert anchor in sections, rule["alert"]


def test_panels_do_not_overlap() -> None:
    panels: list[dict[str, Any]] = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= own


def test_what_stands_before_the_hub_lets_an_attachment_through() -> None:
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", (ROOT / "deploy" / "nginx.conf").read_text())
    assert int(megabytes) << 20 > Settings.model_fields["attachment_bytes"].default


def test_the_pods_have_more_time_to_stop_than_a_drain_takes() -> None:
    parts = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "hub.yaml").read_text()))
    for part in parts:
        if part["kind"] == "Deployment":
            pod = part["spec"]["template"]["spec"]
            assert pod["terminationGracePeriodSeconds"] > Settings.model_fields["grace_s"].default
            assert pod["automountServiceAccountToken"] is False
            probes = [pod["containers"][0][probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")]
            assert probes == ["/readyz", "/healthz"]


async def test_the_image_knows_whether_its_hub_is_alive(hub: Door) -> None:
    (words,) = re.findall(r"^HEALTHCHECK .*\n +CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.M)
    program, *arguments = json.loads(words)
    assert program == "python"
    port = hub.url.rpartition(":")[2]
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = str(nobody.getsockname()[1])
    ended = []
    for asked in (port, dead):
        # A proxy that is set for what goes out has no part in it.
        environment = {"HUB_PORT": asked, "http_proxy": "http://127.0.0.1:9"}
        check = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment, stderr=DEVNULL)
        async with asyncio.timeout(30):
            ended.append(await check.wait())
    assert ended == [0, 1]
