"""What must never happen to turns that bots speak, judged by what was offered, and by the words of each offer."""

import re
from collections import defaultdict

from tests.faults.history import Record
from tests.faults.sights import Report

_MARK = re.compile(r"~([0-9a-f-]+)")
Place = tuple[str, int, int]  # run, turn, attempt


class Offers:
    """Every piece that a bot says has the name of its offer after a `~`, so that words of two never pass for one's."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._places: dict[str, tuple[Place, int]] = {}  # of each offer, and its retry
        self._newest: dict[Place, int] = {}
        self._spoken: dict[str, str] = {}  # offers whose end the hub has taken
        self._of_place: dict[tuple[Place, int], set[str]] = defaultdict(set)

    def offered(self, r: Record) -> None:
        """A connection was offered a turn."""
        self._report.ledger["turns offered"] += 1
        place = (r["run"], r["turn"], r["attempt"])
        self._places[r["offer"]] = (place, r["retry"])
        self._newest[place] = max(self._newest.get(place, 0), r["retry"])
        offers = self._of_place[place, r["retry"]]
        offers.add(r["offer"])
        if len(offers) > 1:
            self._wrong("double-turn", f"turn {r['turn']} of {r['run']} is in several hands at once: {sorted(offers)}")

    def said(self, r: Record) -> None:
        """What came of a command about an offer; `late` when its bot knew, as it said it, that it had lost the turn."""
        if not r["ok"]:
            self._report.ledger[f"bots told: {r['code']}"] += 1
        elif r["late"]:
            self._wrong("late-words", f"{r['command']} of {r['offer']} was taken after {r['late']}")
        elif r["command"] == "turn.complete":
            self._spoken[r["offer"]] = r["c"]

    def heard(self, run: str, turn: int, attempt: int, text: str) -> str:
        """The text of a message without names of offers; they have to be the one that has the turn."""
        names = set(_MARK.findall(text))
        if len(names) > 1:
            self._wrong("double-turn", f"turn {turn} of {run} has words of several: {text!r:.200}")
        for name in names:
            place, retry = self._places.get(name, (None, 0))
            if place is None or place[:2] != (run, turn):
                self._wrong("phantom", f"turn {turn} of {run} has words of {name}, which was offered for {place}")
            elif place[2] != attempt:
                self._wrong("zombie-write", f"turn {turn} of {run}: words of attempt {place[2]} were kept in {attempt}")
            elif retry < self._newest[place]:
                self._wrong("late-words", f"turn {turn} of {run} is what {name} said, which had lost it")
        return _MARK.sub("", text)

    def finish(self) -> None:
        """What is known at the end alone."""
        self._report.ledger["turns spoken by bots"] += len(self._spoken)
        for offer in self._spoken:
            place, retry = self._places[offer]
            if retry < self._newest[place]:
                self._wrong("double-turn", f"turn {place[1]} of {place[0]} was spoken as {offer}, and offered again")

    def _wrong(self, kind: str, detail: str) -> None:
        self._report.wrong(kind, detail)
