"""What a watcher of a session may see: every durable event once and in order, every message exactly."""

import time
from collections import Counter
from datetime import datetime
from typing import Any

Frame = dict[str, Any]
EXPECTED_TOKEN = "t{turn}.{index} "  # of the scripted teams


def script(tokens: int, rate: float, turns: int = 1) -> str:
    """A message that makes a scripted team write this many tokens a turn, this many a second."""
    return f"/script turns={turns} tokens={tokens} rate={rate:g}"


class Judge:
    """Follows one session through one client's eyes, across its connections.

    `anomalies` counts what must never happen, by kind. `lags` are seconds between a delta's `ts` and its arrival, good
    on the hub's own machine only: the clocks are compared. `snapshots`, `merged`, `resyncs` are allowed, and counted.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.anomalies: Counter[str] = Counter()
        self.lags: list[float] = []
        self.completed = 0
        self.tokens = 0
        self.snapshots = 0
        self.merged = 0
        self.resyncs = 0
        self.finished: set[str] = set()
        self._index: dict[str, int] = {}
        self._text: dict[str, str] = {}

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
                self._index[data["message"]] = data["index"]
                self._text[data["message"]] = data["text"]
            case "resync":
                self.resyncs += 1
            case _:
                pass

    def reconnected(self) -> None:
        """A new connection: messages that are open are told again by snapshots."""
        self._index.clear()
        self._text.clear()

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
                    self._index.pop(message, None)
                    self._text.pop(message, None)
            case "run.finished":
                self.finished.add(frame["run"])
                if frame["data"]["status"] != "completed":
                    self.anomalies[f"run {frame['data']['status']}"] += 1
            case _:
                pass

    def _delta(self, frame: Frame) -> None:
        data = frame["data"]
        message, n = data["message"], data.get("n", 1)
        self.lags.append(time.time() - datetime.fromisoformat(frame["ts"]).timestamp())
        self.tokens += n
        self.merged += n > 1
        if data["index"] != self._index.get(message, 0):
            self.anomalies["delta out of place"] += 1
        self._index[message] = data["index"] + n
        self._text[message] = self._text.get(message, "") + data["text"]

    def _completed(self, data: Frame) -> None:
        self.completed += 1
        self._index.pop(data["message"], None)
        streamed = self._text.pop(data["message"], data["text"])
        if streamed != data["text"]:
            self.anomalies["streamed text differs"] += 1
        count = len(data["text"].split())
        turn = data["turn"]
        if data["text"] != "".join(EXPECTED_TOKEN.format(turn=turn, index=i) for i in range(count)):
            self.anomalies["wrong text"] += 1
