"""The rig and the checker together see a hub that is broken: each session of this one is betrayed in another way."""

import asyncio
import json
import random
from typing import Any

import pytest

from hub.gateway.text_frame import text_frame
from hub.relay.keys import WORKERS, held
from tests.faults import holdings
from tests.faults.checker import check
from tests.faults.load import Load, Words
from tests.faults.proxy import Sieve
from tests.faults.rig import Rig, rig, until

BETRAYALS = """
CREATE FUNCTION rig.forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM public.events WHERE session_id = NEW.session_id AND seq = NEW.seq;
    RETURN NULL;
END $$;
CREATE TRIGGER forget AFTER INSERT ON public.events FOR EACH ROW
    WHEN (NEW.session_id = '{forgotten}' AND NEW.type = 'message.created') EXECUTE FUNCTION rig.forget();

CREATE FUNCTION rig.stutter() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE at bigint; BEGIN
    IF pg_trigger_depth() > 1 THEN RETURN NULL; END IF;
    UPDATE public.sessions SET last_seq = last_seq + 1 WHERE id = NEW.session_id RETURNING last_seq INTO at;
    INSERT INTO public.events (session_id, seq, type, run_id, ts, data)
    VALUES (NEW.session_id, at, NEW.type, NEW.run_id, NEW.ts, NEW.data);
    RETURN NULL;
END $$;
CREATE TRIGGER stutter AFTER INSERT ON public.events FOR EACH ROW
    WHEN (NEW.session_id = '{doubled}' AND NEW.type = 'message.created') EXECUTE FUNCTION rig.stutter();

CREATE FUNCTION rig.unfence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.lease_epoch := OLD.lease_epoch;
    RETURN NEW;
END $$;
CREATE TRIGGER unfence BEFORE UPDATE OF lease_epoch ON public.runs FOR EACH ROW
    WHEN (OLD.session_id = '{unfenced}' AND OLD.lease_epoch > 0) EXECUTE FUNCTION rig.unfence();

CREATE FUNCTION rig.twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.value := 2;
    RETURN NEW;
END $$;
CREATE TRIGGER twice BEFORE INSERT ON public.counters FOR EACH ROW EXECUTE FUNCTION rig.twice();
"""


EXPIRE = """
UPDATE runs SET lease_until = clock_timestamp() - interval '1 second'
WHERE session_id = CAST($1 AS uuid) AND status = 'running' AND attempt = 1
"""
STRANGE = "01900000-0000-7000-8000-000000000000"
WHOLE = """
SELECT last_seq, EXISTS (SELECT FROM runs WHERE session_id = s.id AND finished_at IS NULL) AS open
FROM sessions s WHERE id = CAST($1 AS uuid)
"""
TAKEN_OVER = "SELECT 1 FROM runs WHERE session_id = CAST($1 AS uuid) AND attempt > 1"


class Eater:
    """Swallows, from what the nodes tell their clients, each event that holds this: also when it comes again. Events of
    other sessions that travel in the same frame are let through."""

    def __init__(self) -> None:
        self.wanted: bytes | None = None
        self.eaten = 0

    def sieve(self) -> Sieve:
        return self._sift

    def _sift(self, data: bytes) -> bytes:
        if self.wanted is None or self.wanted not in data:
            return data
        payloads, rest = _payloads(data)
        kept: list[bytes] = []
        for payload in payloads:
            events = payload.split(b"\n")
            left = [event for event in events if self.wanted not in event]
            self.eaten += len(events) - len(left)
            if left:
                kept.append(text_frame(b"\n".join(left)))
        return b"".join(kept) + rest


def _payloads(data: bytes) -> tuple[list[bytes], bytes]:
    """What is in the WebSocket frames a node wrote at once, and what follows that is none: an answer to HTTP."""
    payloads: list[bytes] = []
    while len(data) >= 4 and data[0] == 0x81 and data[1] <= 126:
        size, head = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4], "big"), 4)
        if len(data) < head + size:
            break
        payloads.append(data[head : head + size])
        data = data[head + size :]
    return payloads, data


def test_what_travels_with_a_lost_event_arrives() -> None:
    eater = Eater()
    eater.wanted = b"lost"
    frames = text_frame(b'{"a":"fine"}\n{"a":"lost"}') + text_frame(b'{"a":"lost"}') + text_frame(b'{"a":"last"}')
    assert eater.sieve()(frames + b"HTTP") == text_frame(b'{"a":"fine"}') + text_frame(b'{"a":"last"}') + b"HTTP"
    assert eater.eaten == 2


@pytest.mark.timeout(300)
async def test_a_broken_hub_is_seen_to_be_broken() -> None:
    async with rig(nodes=2, seed=3, lease_s="2") as hub, asyncio.TaskGroup() as group:
        eater = Eater()
        for node in hub.nodes:
            node.from_clients.sieve = eater.sieve
        rng = random.Random(3)
        load: Load

        def words(rng: random.Random) -> Words:
            return f"/script turns=1 tokens=30 rate=15 tool=counter key={load.key(rng)}", {}

        load = Load(hub, rng, users=2, sessions=7, tabs=1, words=words, patience=1.0, cancels=0.0)
        await load.start(group, teams=("scripted",) * 6 + ("scripted-tools",))
        fine, forgotten, doubled, unfenced, eaten, strange, _ = load.owners
        await hub.sql(BETRAYALS.format(forgotten=forgotten, doubled=doubled, unfenced=unfenced))
        hub.history.add("fault", name="betrayals")
        eater.wanted = f'"type":"run.finished","session":"{eaten}"'.encode()
        await _take_the_lease_away(hub, unfenced)
        await _publish_strange(hub, strange)
        await until(lambda: _is_true(eater.eaten), "a frame is lost on its way", 60)
        await until(lambda: _have_spoken(hub, forgotten, doubled, unfenced), "messages are sent to be betrayed", 60)
        await load.settle(runs_s=10, converge_s=1)
        await until(lambda: _is_whole(hub, load, fine), "the good session has ended well", 60)
        await load.read_all()
        [worker, *_] = await hub.redis("ZRANGE", WORKERS, 0, -1)
        await hub.redis("HSET", held("connections:user:nobody"), worker, 1)
        leaked = await holdings.differences(hub, load, within_s=0)
        await load.leave()
        report = check(hub.history.records())
    expected = {
        "lost-acked": "",
        "gap": forgotten,
        "duplicate": "",
        "zombie-write": "",
        "skipped": eaten,
        "cross-tenant": "",
        "double-effect": "",
    }
    assert set(expected) <= set(report.anomalies), (report.anomalies, report.examples)
    for kind, session in expected.items():
        assert any(session in example for example in report.examples[kind]), (kind, session, report.examples[kind])
    assert any("connections:user:nobody, there are 0" in difference for difference in leaked), leaked
    assert not [e for examples in report.examples.values() for e in examples if fine in e]


async def _is_true(value: Any) -> bool:
    return bool(value)


async def _have_spoken(hub: Rig, *sessions: str) -> bool:
    """Whether something was acknowledged in each that was sent after the betrayals."""
    betrayed, tried, acked = False, dict[str, str](), set[str]()
    for record in hub.history.records():
        match record["k"]:
            case "fault":
                betrayed = True
            case "try" if betrayed:
                tried[record["op"]] = record["session"]
            case "ok" if record["op"] in tried:
                acked.add(tried[record["op"]])
    return acked >= set(sessions)


async def _is_whole(hub: Rig, load: Load, session: str) -> bool:
    """Whether nothing runs there any more, and everybody has seen all of it."""
    [row] = await hub.sql(WHOLE, session)
    followers = [client for client in load.clients if session in client.cursors]
    return not row["open"] and all(client.cursors[session] == row["last_seq"] for client in followers)


async def _take_the_lease_away(hub: Rig, session: str) -> None:
    """Both nodes have the run now, and the same epoch: nothing fences them off each other."""

    async def taken() -> bool:
        # Its holder renews the lease every second: now and then another node is faster.
        await hub.sql(EXPIRE, session)
        return bool(await hub.sql(TAKEN_OVER, session))

    await until(taken, "two nodes execute one run", 60)


async def _publish_strange(hub: Rig, to: str) -> None:
    """An event of a session that nobody of these is to see, until somebody has seen it."""
    frame = {"type": "presence.changed", "session": STRANGE, "data": {}}

    async def shown() -> bool:
        # Under the name of the session it goes to: rooms drop what names another one.
        await hub.redis("PUBLISH", f"hub:{{{to}}}", f"{to} L\n".encode() + json.dumps(frame).encode())
        return any(record["k"] == "in" and record["f"].get("session") == STRANGE for record in hub.history.records())

    await until(shown, "a stranger's event is shown", 60)
