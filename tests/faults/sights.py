"""One connection's view of one session, and the report on all of them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

Frame = dict[str, Any]
EXAMPLES = 20  # of each kind of anomaly


@dataclass
class Report:
    """`anomalies` counts by kind, `examples` tells of the first few. Times are seconds."""

    anomalies: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    ledger: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    acks: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)  # until a try was answered with an error
    answers: list[float] = field(default_factory=list)  # until a try was answered, or given up, whatever it was
    final: list[str] = field(default_factory=list)  # refusals that said it was of no use to try again
    strange_effects: list[str] = field(default_factory=list)  # of tools, by a worker that had not the run's lease
    takeovers: list[float] = field(default_factory=list)
    longest_ack_gap: float = 0.0

    def wrong(self, kind: str, detail: str) -> None:
        """Something that must never happen has happened."""
        self.anomalies[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(detail)


def digest(event: Frame) -> int:
    """Tells events apart by content, whatever the order of their fields. Good within one process."""
    return hash(orjson.dumps(event, option=orjson.OPT_SORT_KEYS))


@dataclass(slots=True)
class _Shown:
    """An open message as it was shown; `index` is that of the next delta. One beyond it makes a client wait."""

    run: str
    turn: int
    text: str = ""
    index: int = 0


class View:
    """What a client has been shown since it joined: durable events in order, messages growing to their end."""

    def __init__(self, report: Report, name: str, replay_from: int, last_seq: int) -> None:
        self.name = name
        self.next_seq = replay_from
        self._replay_to = last_seq
        self._report = report
        self._open: dict[str, _Shown] = {}
        self._over: set[str] = set()
        self._runs_over: set[str] = set()

    def see(self, frame: Frame) -> None:
        """A frame of the session came."""
        if "seq" in frame:
            self._durable(frame)
            return
        match frame["type"]:
            case "message.delta":
                self._report.ledger["deltas"] += frame["data"].get("n", 1)
                self._delta(frame)
            case "message.snapshot":
                self._report.ledger["snapshots"] += 1
                self._snapshot(frame)
            case "resync":
                self._report.ledger["resyncs"] += 1
                self.next_seq = frame["data"]["from_seq"] + 1
            case _:
                self._report.ledger["other live events"] += 1

    def _durable(self, frame: Frame) -> None:
        seq = frame["seq"]
        if seq < self.next_seq:
            self._wrong("non-monotonic", f"got {seq} where {self.next_seq} was due")
            return
        if seq > self.next_seq:
            self._wrong("skipped", f"got {seq} where {self.next_seq} was due")
        self.next_seq = seq + 1
        self._report.ledger["delivered: replay" if seq <= self._replay_to else "delivered: live"] += 1
        data = frame["data"]
        match frame["type"]:
            case "message.completed":
                self._completed(data)
            case "turn.superseded":
                self._void(frame["run"], data["turn"], data["messages"])
            case "run.finished":
                self._finished(frame["run"], data)

    def _completed(self, data: Frame) -> None:
        shown = self._open.pop(data["message"], None)
        if shown is not None and not data["text"].startswith(shown.text):
            self._wrong("not-a-prefix", f"{data['message']} was shown as {shown.text!r:.120}, is {data['text']!r:.120}")
        self._over.add(data["message"])

    def _void(self, run: str, turn: int, messages: list[str]) -> None:
        gone = [name for name, shown in self._open.items() if shown.run == run and shown.turn == turn]
        for message in (*messages, *gone):
            self._open.pop(message, None)
            self._over.add(message)

    def _finished(self, run: str, data: Frame) -> None:
        cut = data["status"] == "cancelled" and data["reason"] == "interrupted"  # an edit leaves nothing of it
        for message in [name for name, shown in self._open.items() if shown.run == run]:
            if not cut:
                self._wrong("unannounced", f"{message} was shown, and its run ended without a word: {data}")
            del self._open[message]
        self._runs_over.add(run)

    def _live(self, frame: Frame) -> _Shown | None:
        message, run = frame["data"]["message"], frame["run"]
        if message in self._over or run in self._runs_over:
            self._wrong("late-delta", f"{frame['type']} of {message} after its end")
            return None
        return self._open.setdefault(message, _Shown(run, frame["data"]["turn"]))

    def _delta(self, frame: Frame) -> None:
        if (shown := self._live(frame)) is None:
            return
        data = frame["data"]
        index, n = data["index"], data.get("n", 1)
        if index == shown.index:
            shown.text += data["text"]
            shown.index += n
        elif index < shown.index < index + n:
            self._wrong("not-a-prefix", f"a delta {index}+{n} of {data['message']} straddles {shown.index}")

    def _snapshot(self, frame: Frame) -> None:
        if (shown := self._live(frame)) is None:
            return
        data = frame["data"]
        if not data["text"].startswith(shown.text) and data["index"] >= shown.index:
            self._wrong("not-a-prefix", f"a snapshot of {data['message']} takes back what was shown")
        shown.text, shown.index = data["text"], data["index"]

    def _wrong(self, kind: str, detail: str) -> None:
        self._report.wrong(kind, f"{self.name}: {detail}")
