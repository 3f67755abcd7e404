"""What a watcher of a session may see: every durable event once and in order, every message exactly."""

import time
from collections import Counter
from datetime import datetime
from typing import Any

import orjson

Frame = dict[str, Any]
EXPECTED_TOKEN = "t{turn}.{index} "  # of the scripted teams


_DELTA = b'{"type":"message.delta",'
_TS, _TS_SIZE = b'"ts":"', 24  # 2026-11-22T20:00:00.123Z
_INDEX = b'"index":'
_CUT_S = 0.0005  # `ts` is cut to whole milliseconds: on average by half of one, which nobody waited for


def script(tokens: int, rate: float, turns: int = 1) -> str:
    """A message that makes a scripted team write this many tokens a turn, this many a second."""
    return f"/script turns={turns} tokens={tokens} rate={rate:g}"


class _Open:
    """A message while it streams. `head` and `tail` are what its deltas begin with, before and after their time: those
    that say just the next token are known by their bytes."""

    __slots__ = ("head", "index", "said", "tail", "text_at", "tokens", "ts_at", "turn")

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.index = 0  # of the next delta
        self.said = ""
        self.tokens = 0  # said after that, each just as expected
        self.head = self.tail = b""
        self.ts_at = self.text_at = 0

    def learn(self, line: bytes) -> None:
        """See what the message's deltas look like."""
        self.ts_at = line.index(_TS) + len(_TS)
        self.text_at = line.index(_INDEX, self.ts_at) + len(_INDEX)
        self.head, self.tail = line[: self.ts_at], line[self.ts_at + _TS_SIZE : self.text_at]

    def is_next(self, line: bytes) -> bool:
        """Whether the line says just the next token, in its place."""
        expected = b'%d,"text":"t%d.%d "}}' % (self.index, self.turn, self.tokens)
        return (
            line.endswith(expected)
            and len(line) == self.text_at + len(expected)
            and line.startswith(self.tail, self.ts_at + _TS_SIZE)
            and line.startswith(self.head)
        )

    @property
    def text(self) -> str:
        return self.said + self._tokens(0, self.tokens)

    def say(self, text: str) -> None:
        """More text, whatever it is."""
        count = text.count(" ")
        if not self.said and text == self._tokens(self.tokens, count):
            self.tokens += count
        else:
            self.said, self.tokens = self.text + text, 0

    def _tokens(self, first: int, count: int) -> str:
        return "".join(EXPECTED_TOKEN.format(turn=self.turn, index=i) for i in range(first, first + count))


class Judge:
    """Follows one session through one client's eyes, across its connections.

    `anomalies` counts what must never happen, by kind. `lags` are seconds between a delta's `ts` and its arrival,
    each exact to half a millisecond, and good on the hub's own machine only: the clocks are compared. `snapshots`,
    `merged`, `resyncs` are allowed, and counted. `deltas` are frames, `tokens` the words in them.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.anomalies: Counter[str] = Counter()
        self.lags: list[float] = []
        self.completed = 0
        self.deltas = 0
        self.tokens = 0
        self.snapshots = 0
        self.merged = 0
        self.resyncs = 0
        self.finished: set[str] = set()
        self._open: dict[str, _Open] = {}
        self._last: _Open | None = None

    def see_line(self, line: bytes) -> None:
        """An object of the session came, as bytes: costs a load generator less than `see`."""
        last = self._last
        if last is not None and last.is_next(line):
            last.index += 1
            last.tokens += 1
            self.deltas += 1
            self.tokens += 1
            # Within the minute: both clocks are those of one machine.
            self.lags.append((time.time() - float(line[last.ts_at + 17 : last.ts_at + 23])) % 60 - _CUT_S)
            return
        frame: Frame = orjson.loads(line)
        self.see(frame)
        if line.startswith(_DELTA) and (last := self._open.get(frame["data"]["message"])) is not None:
            last.learn(line)
            self._last = last

    def see(self, frame: Frame) -> None:
        """A frame of the session came."""
        if "seq" in frame:
            self._durable(frame)
            return
        match frame["type"]:
            case "message.delta":
                self._delta(frame)
            case "message.snapshot":
                data = frame["data"]
                self.snapshots += 1
                self._open[data["message"]] = opened = _Open(data["turn"])
                opened.index = data["index"]
                opened.say(data["text"])
            case "resync":
                self.resyncs += 1
            case _:
                pass

    def reconnected(self) -> None:
        """A new connection: messages that are open are told again by snapshots."""
        self._open.clear()
        self._last = None

    def _durable(self, frame: Frame) -> None:
        seq = frame["seq"]
        if seq != self.seq + 1:
            self.anomalies["duplicate" if seq <= self.seq else "gap"] += 1
        self.seq = max(self.seq, seq)
        match frame["type"]:
            case "message.completed":
                self._completed(frame["data"])
            case "turn.superseded":
                for message in frame["data"]["messages"]:
                    self._open.pop(message, None)
                self._last = None
            case "run.finished":
                self.finished.add(frame["run"])
                if frame["data"]["status"] != "completed":
                    self.anomalies[f"run {frame['data']['status']}"] += 1
            case _:
                pass

    def _delta(self, frame: Frame) -> None:
        data = frame["data"]
        message, n = data["message"], data.get("n", 1)
        self.lags.append(time.time() - datetime.fromisoformat(frame["ts"]).timestamp() - _CUT_S)
        self.deltas += 1
        self.tokens += data["text"].count(" ")
        self.merged += n > 1
        opened = self._open.get(message)
        if opened is None:
            opened = self._open[message] = _Open(data["turn"])
        if data["index"] != opened.index:
            self.anomalies["delta out of place"] += 1
        opened.index = data["index"] + n
        opened.say(data["text"])

    def _completed(self, data: Frame) -> None:
        self.completed += 1
        self._last = None
        streamed = self._open.pop(data["message"], None)
        if streamed is not None and streamed.text != data["text"]:
            self.anomalies["streamed text differs"] += 1
        count = len(data["text"].split())
        turn = data["turn"]
        if data["text"] != "".join(EXPECTED_TOKEN.format(turn=turn, index=i) for i in range(count)):
            self.anomalies["wrong text"] += 1
