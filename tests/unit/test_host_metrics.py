"""Metrics of several workers in one answer, whoever of them is asked, and whatever has become of the others."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from hub.telemetry.host import HostMetrics

OWN = """# HELP hub_rooms Sessions that somebody follows here
# TYPE hub_rooms gauge
hub_rooms{{node="{node}"}} {value}
# HELP hub_acks_total How many
# TYPE hub_acks_total counter
hub_acks_total{{node="{node}"}} {value}
"""


def telling(node: str, value: float, folder: Path) -> HostMetrics:
    return HostMetrics(f"host:1:{node}", OWN.format(node=node, value=value).encode, folder)


def values(text: bytes) -> dict[tuple[str, str], float]:
    """By metric and worker. A metric that is told in two places is not the format's."""
    families = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families)
    return {(s.name, s.labels["node"]): s.value for family in families for s in family.samples}


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing for as long as anybody listens."""
    await reader.read()
    writer.close()


async def tells(asked: HostMetrics, wanted: dict[tuple[str, str], float]) -> None:
    """Ask until this is told: on a busy machine a worker may have been silent for the second that others wait."""
    told = dict[tuple[str, str], float]()
    try:
        async with asyncio.timeout(30):
            while told != wanted:
                told = values(await asked.text())
    except TimeoutError:
        assert told == wanted


async def test_one_tells_of_all_that_live_and_how_many_are_silent(tmp_path: Path) -> None:
    one, two, gone = (telling(node, value, tmp_path) for node, value in (("a", 1), ("b", 2), ("c", 3)))
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        running = [tasks.create_task(each.run()) for each in (one, two, gone)]
        both = {("hub_rooms", "a"): 1, ("hub_rooms", "b"): 2, ("hub_acks_total", "a"): 1, ("hub_acks_total", "b"): 2}
        third = {("hub_rooms", "c"): 3, ("hub_acks_total", "c"): 3}
        async with asyncio.timeout(30):
            while True:
                if values(await one.text()).keys() > both.keys() | third.keys():
                    break
                await asyncio.sleep(0.01)
        for asked, name in ((one, "host:1:a"), (two, "host:1:b")):
            await tells(asked, {**both, **third, ("hub_workers_silent", name): 0})
        leaving = running.pop()
        leaving.cancel()
        await asyncio.wait([leaving])
        (tmp_path / "c.sock").touch()  # as of one that was killed
        hanging = await asyncio.start_unix_server(hang, tmp_path / "d.sock")
        await stack.enter_async_context(hanging)
        await tells(two, {**both, ("hub_workers_silent", "host:1:b"): 1})
        assert not (tmp_path / "c.sock").exists()
        for each in running:
            each.cancel()
