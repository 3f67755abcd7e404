"""The queue to a slow reader: bounded, merging deltas, never reordering."""

import asyncio

import pytest

from hub.protocol.events import AnyEvent, MessageDelta
from hub_client.errors import Stopped
from hub_client.mailbox import MERGE_ABOVE, Mailbox
from tests.unit import played_hub as play
from tests.unit.test_client_assembly import parsed


async def drain(mailbox: Mailbox) -> list[AnyEvent]:
    mailbox.close()
    events = []
    while (event := await mailbox.take()) is not None:
        events.append(event)
    return events


async def test_a_fast_reader_gets_every_delta_as_it_came() -> None:
    mailbox = Mailbox()
    for index in range(MERGE_ABOVE):
        mailbox.put(parsed(play.delta(index, str(index))))
    assert len(await drain(mailbox)) == MERGE_ABOVE


async def test_for_a_slow_reader_deltas_merge_and_say_how_many_they_hold() -> None:
    mailbox = Mailbox()
    for index in range(1000):
        assert mailbox.put(parsed(play.delta(index, f"{index} ", message=f"m{index % 2}")))
    events = await drain(mailbox)
    assert len(events) <= MERGE_ABOVE + 2
    for name in ("m0", "m1"):
        mine = [e.data for e in events if isinstance(e, MessageDelta) and e.data.message == name]
        assert sum(d.n or 1 for d in mine) == 500
        assert "".join(d.text for d in mine) == "".join(f"{i} " for i in range(1000) if f"m{i % 2}" == name)


async def test_text_never_moves_across_a_durable_event() -> None:
    mailbox = Mailbox()
    for index in range(100):
        mailbox.put(parsed(play.delta(index, "a")))
    mailbox.put(parsed(play.turn(1)))
    for index in range(100, 200):
        mailbox.put(parsed(play.delta(index, "b")))
    events = await drain(mailbox)
    middle = next(i for i, e in enumerate(events) if not isinstance(e, MessageDelta))
    assert all(e.data.text.strip("a") == "" for e in events[:middle] if isinstance(e, MessageDelta))
    assert all(e.data.text.strip("b") == "" for e in events[middle + 1 :] if isinstance(e, MessageDelta))


async def test_a_full_mailbox_says_so_and_keeps_what_it_has() -> None:
    mailbox = Mailbox(full_at=3)
    assert [mailbox.put(parsed(play.turn(n))) for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert len(await drain(mailbox)) == 3


async def test_it_ends_with_its_error_after_everything_before() -> None:
    mailbox = Mailbox()
    mailbox.put(parsed(play.turn(1)))
    mailbox.close(Stopped("gone"))
    mailbox.close()
    assert await mailbox.take() is not None
    with pytest.raises(Stopped, match="gone"):
        await mailbox.take()


async def test_a_waiting_reader_wakes_up() -> None:
    mailbox = Mailbox()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        taken = tasks.create_task(mailbox.take())
        await asyncio.sleep(0)
        mailbox.put(parsed(play.turn(1)))
    assert taken.result() is not None
