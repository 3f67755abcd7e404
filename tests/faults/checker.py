"""Finds in a history what must never happen. One pass, O(records)."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.history import Record
from tests.faults.offers import Offers
from tests.faults.sights import Report, View, digest

# What only the holder of a run's lease may write.
RUNNER_ONLY = {
    "run.started",
    "turn.started",
    "turn.superseded",
    "message.completed",
    "tool.called",
    "tool.returned",
    "agent.handoff",
}
# What tells, with the end of a run, what becomes of what had waited for it.
AFTER_THE_END = {"message.steered"}
ENDED_S = 7.0  # after which a right that has ended acts on nothing: the 5 s that are promised, and the way
_SCRIPT = re.compile(r"/script(?P<words>( \w+=[\w.-]*)*)$")


def check(records: Iterable[Record]) -> Report:
    """Everything that is wrong with a history, and its numbers."""
    checker = _Checker()
    for record in records:
        checker.take(record)
    checker.finish()
    return checker.report


@dataclass(slots=True)
class _Op:
    """A message somebody wants in the log, however often it was tried. Its `client_id` is nobody else's."""

    session: str
    user: str
    client_id: str
    text: str
    began: float
    acked_before: int  # the highest seq acknowledged in this session when it was first tried
    seq: int | None = None
    message: str | None = None
    ambiguous: bool = False
    refused: bool = False


@dataclass(slots=True)
class _Run:
    """A run, as the final log tells it."""

    prompt: str | None = None
    attempt: int = 0
    begun: set[tuple[int, str]] = field(default_factory=set)  # turns and their speakers; none that was superseded
    ended: str | None = None
    texts: dict[int, list[tuple[str, str, str, int]]] = field(default_factory=lambda: defaultdict(list))
    calls: Counter[str] = field(default_factory=Counter)
    approvals: int = 0


class _Checker:
    def __init__(self) -> None:
        self.report = Report()
        self._ops: dict[str, _Op] = {}
        self._tried: dict[str, float] = {}
        self._acked: dict[str, int] = defaultdict(int)
        self._reads: dict[str, int] = {}
        self._joins: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._users: dict[str, str] = {}
        self._members: set[tuple[str, str]] = set()
        self._views: dict[tuple[str, str], View] = {}
        self._seen: dict[str, dict[int, int]] = defaultdict(dict)
        self._followed: set[tuple[str, str]] = set()  # (user, session) that got an event
        self._created: Counter[tuple[str, str]] = Counter()
        self._created_at: dict[tuple[str, str], tuple[int, str, str]] = {}
        self._void: set[str] = set()
        self._ends: dict[str, int] = {}
        self._called: Counter[str] = Counter()
        self._last_ok: float | None = None
        self._run_seen: dict[str, float] = {}
        self._attempts: dict[str, int] = {}
        self._run_of: dict[str, str] = {}  # session → the run it was last told of
        self._offers = Offers(self.report)
        self._ended: dict[str, float] = {}  # user → when it was known that they are nobody any more
        self._handlers: dict[str, Callable[[Record], None]] = {
            "try": self._try,
            "ok": self._ok,
            "fail": self._fail,
            "info": self._info,
            "open": self._open,
            "gone": self._gone,
            "join": self._join,
            "joined": self._joined,
            "in": self._in,
            "offered": self._offers.offered,
            "said": self._offers.said,
            "read": self._read,
            "read.ok": self._read_ok,
            "ended": self._rights_end,
            "restored": self._rights_begin,
            "member": self._member,
            "log": self._log,
            "transcript": self._transcript,
            "run": self._run,
            "effect": self._effect,
            "audit": self._audit,
        }

    def take(self, record: Record) -> None:
        handler = self._handlers.get(record["k"])
        if handler is not None:
            handler(record)

    def _wrong(self, kind: str, detail: str) -> None:
        self.report.wrong(kind, detail)

    # ---- writers

    def _try(self, r: Record) -> None:
        self.report.ledger["tries"] += 1
        self._tried[r["op"]] = r["t"]
        if r["op"] not in self._ops:
            self.report.ledger["sent"] += 1
            op = _Op(r["session"], r["user"], r["client_id"], r["text"], r["t"], self._acked[r["session"]])
            self._ops[r["op"]] = op

    def _ok(self, r: Record) -> None:
        op = self._ops[r["op"]]
        self.report.ledger["acks"] += 1
        self.report.acks.append(r["t"] - op.began)
        self.report.answers.append(r["t"] - self._tried[r["op"]])
        if self._last_ok is not None:
            self.report.longest_ack_gap = max(self.report.longest_ack_gap, r["t"] - self._last_ok)
        self._last_ok = r["t"]
        if op.seq is not None and (op.seq, op.message) != (r["seq"], r["message"]):
            self._wrong("duplicate", f"{op.client_id} was acknowledged at {op.seq} and at {r['seq']}")
        op.seq, op.message = r["seq"], r["message"]
        self._may(op.user, r["t"], f"{op.client_id} was acknowledged")
        if r["seq"] <= op.acked_before:
            self._wrong("ack-inversion", f"{op.client_id} got {r['seq']}, begun after an ack of {op.acked_before}")
        self._acked[op.session] = max(self._acked[op.session], r["seq"])

    def _fail(self, r: Record) -> None:
        self._ops[r["op"]].refused = True
        self.report.failures[r["code"]] += 1
        self._refused(r)

    def _info(self, r: Record) -> None:
        self._ops[r["op"]].ambiguous = True
        self.report.failures[r["why"]] += 1
        self.report.answers.append(r["t"] - self._tried[r["op"]])
        if r["why"] == "unavailable":
            self._refused(r)

    def _refused(self, r: Record) -> None:
        self.report.refusals.append(r["t"] - self._tried[r["op"]])
        if not r["retryable"]:
            self.report.final.append(r["code"] if "code" in r else r["why"])

    # ---- readers

    def _open(self, r: Record) -> None:
        self._users[r["c"]] = r["user"]
        self._may(r["user"], r["t"], "somebody came in")
        self.report.ledger["connections"] += 1

    def _gone(self, r: Record) -> None:
        self.report.closes[r["code"]] += 1
        for key in [key for key in self._views if key[0] == r["c"]]:
            del self._views[key]

    def _join(self, r: Record) -> None:
        self._joins[r["c"], r["session"]].append(self._acked[r["session"]])

    def _joined(self, r: Record) -> None:
        key = (r["c"], r["session"])
        acked = self._joins[key].pop(0)
        if r["last_seq"] < acked:
            self._wrong("stale-read", f"join of {r['session']} ended at {r['last_seq']}, {acked} was acknowledged")
        self._views[key] = View(self.report, f"{r['c']} in {r['session']}", r["replay_from"], r["last_seq"])

    def _in(self, r: Record) -> None:
        frame = r["f"]
        session = frame.get("session")
        if session is None:
            return
        self._followed.add((self._users[r["c"]], session))
        self._may(self._users[r["c"]], r["t"], f"{frame['type']} of {session} was shown")
        view = self._views.get((r["c"], session))
        if view is None:
            self._wrong("cross-tenant", f"{frame['type']} of {session} on {r['c']}, which does not follow it")
            return
        if "seq" in frame:
            self._same(session, frame)
            self._takeover(frame, r["t"])
        elif "run" in frame:
            self._run_seen[frame["run"]] = r["t"]
        view.see(frame)

    def _rights_end(self, r: Record) -> None:
        self._ended[r["user"]] = r["t"]

    def _rights_begin(self, r: Record) -> None:
        del self._ended[r["user"]]

    def _may(self, user: str, now: float, what: str) -> None:
        if (ended := self._ended.get(user)) is not None and now - ended > ENDED_S:
            self._wrong("late-right", f"{what} {now - ended:.1f} s after {user} was suspended")

    def _takeover(self, frame: Record, now: float) -> None:
        run = frame.get("run")
        if run is None:
            if frame["type"] == "session.updated" and frame["data"]["status"] == "paused":
                self._run_seen.pop(self._run_of.get(frame["session"], ""), None)  # it waits for people
            return
        self._run_of[frame["session"]] = run
        if frame["type"] == "turn.superseded":
            return  # the takeover itself
        if frame["type"] == "run.started":
            attempt = frame["data"]["attempt"]
            if attempt > self._attempts.get(run, 0):
                self._attempts[run] = attempt
                if attempt > 1 and run in self._run_seen:
                    self.report.takeovers.append(now - self._run_seen[run])
        self._run_seen[run] = now

    def _same(self, session: str, event: Record) -> None:
        """Whoever sees an event at a seq sees the same."""
        mark = digest(event)
        if self._seen[session].setdefault(event["seq"], mark) != mark:
            self._wrong("inconsistent-seq", f"{session} at {event['seq']}: two observers differ")

    def _read(self, r: Record) -> None:
        self._reads[r["op"]] = self._acked[r["session"]]
        self.report.ledger["reads"] += 1

    def _read_ok(self, r: Record) -> None:
        if r["last_seq"] < self._reads[r["op"]]:
            self._wrong("stale-read", f"ended at {r['last_seq']}, {self._reads[r['op']]} was acknowledged before")
        for event in r["items"]:
            self._same(event["session"], event)

    # ---- the end

    def _member(self, r: Record) -> None:
        self._members.add((r["user"], r["session"]))

    def _log(self, r: Record) -> None:
        session, runs = r["session"], defaultdict[str, _Run](_Run)
        prompts: dict[int, str] = {}
        self._ends[session] = len(r["items"])
        known = self._seen.pop(session, {})
        for number, event in enumerate(r["items"], start=1):
            if event["seq"] != number:
                self._wrong("gap", f"{session}: event {number} has seq {event['seq']}")
                break
            if known.pop(number, digest(event)) != digest(event):
                self._wrong("inconsistent-seq", f"{session} at {number}: the final log differs from what was seen")
            self._logged(session, event, runs, prompts)
        for seq in known:
            self._wrong("phantom", f"{session} at {seq} was seen and is not in the log")
        for name, run in runs.items():
            self._judge_run(name, run)
        for (_, of), view in self._views.items():
            if of == session and view.next_seq <= len(r["items"]):
                self._wrong("skipped", f"{view.name} never got {view.next_seq} of {len(r['items'])}")
        self.report.ledger["persisted events"] += len(r["items"])

    def _logged(self, session: str, event: Record, runs: dict[str, _Run], prompts: dict[int, str]) -> None:
        data: dict[str, Any] = event["data"]
        kind = event["type"]
        if kind == "message.created" and data.get("client_id"):
            key = (session, data["client_id"])
            self._created[key] += 1
            self._created_at[key] = (event["seq"], data["message"], data["text"])
            prompts[event["seq"]] = data["text"]
        if kind == "message.redacted":
            self._void.add(data["message"])
        if (name := event.get("run")) is None:
            return
        run = runs[name]
        if run.ended is not None and kind not in AFTER_THE_END:
            self._wrong("zombie-write", f"{kind} of run {name} at {event['seq']}, after its end")
        match kind:
            case "run.queued":
                run.prompt = prompts.get(data["input_seq"])
            case "run.started":
                if data["attempt"] <= run.attempt:
                    self._wrong("zombie-write", f"run {name} was started as {data['attempt']} after {run.attempt}")
                run.attempt = data["attempt"]
            case "turn.started":
                if data["attempt"] != run.attempt:
                    self._wrong("zombie-write", f"turn of attempt {data['attempt']} of {name} in {run.attempt}")
                if (data["turn"], data["agent"]) in run.begun:
                    self._wrong("unannounced", f"turn {data['turn']} of {name} was begun again without a word")
                run.begun.add((data["turn"], data["agent"]))  # who speaks in place of another begins it, too
            case "turn.superseded":
                self.report.ledger["turns superseded"] += 1
                self._void.update(data["messages"])
                run.begun.clear()
                run.texts[data["turn"]] = [t for t in run.texts[data["turn"]] if t[0] not in data["messages"]]
            case "message.completed":
                run.texts[data["turn"]].append((data["message"], data["text"], data["status"], run.attempt))
            case "tool.called":
                run.calls[str(data["arguments"].get("key"))] += 1
                self._called[str(data["arguments"].get("key"))] += 1
            case "input.resolved":
                run.approvals += data["decision"] == "approve"
            case "run.finished":
                run.ended = data["status"]
                self.report.runs[data["status"]] += 1
                if (error := data.get("error")) is not None:
                    self.report.failures["run: " + error["code"]] += 1

    def _judge_run(self, name: str, run: _Run) -> None:
        if run.ended is None:
            self._wrong("stuck", f"run {name} has no end")
        for key, times in run.calls.items():
            if times > 1 + run.approvals:
                self._wrong("double-effect", f"run {name} called its tool {times} times with {key}")
        script = _SCRIPT.match(run.prompt or "")
        if script is None:
            return
        words = dict(word.split("=") for word in script["words"].split())
        if run.ended == "completed" and len(run.texts) != int(words.get("turns", 2)):
            self._wrong("wrong-text", f"run {name} has {len(run.texts)} turns: {run.prompt}")
        for turn, said in run.texts.items():
            texts = [(self._offers.heard(name, turn, attempt, text), status) for _, text, status, attempt in said]
            whole = "".join(f"t{turn}.{i} " for i in range(int(words.get("tokens", 20))))
            finished = [text for text, status in texts if status == "complete"]
            if any(text != whole for text in finished) or (run.ended == "completed" and len(finished) != 1):
                self._wrong("wrong-text", f"turn {turn} of {name} ({run.prompt}) is {finished!r:.200}")
            if any(not whole.startswith(text) for text, _ in texts):
                self._wrong("wrong-text", f"turn {turn} of {name} has a partial text that is none: {texts!r:.200}")

    def _transcript(self, r: Record) -> None:
        """The export has what the log has."""
        told = {(item["message"], item["seq"]) for item in r["items"]}
        for message in {message for message, _ in told} & self._void:
            self._wrong("inconsistent-seq", f"the transcript of {r['session']} has the void message {message}")
        for (session, _), (seq, message, _) in self._created_at.items():
            if session == r["session"] and message not in self._void and (message, seq) not in told:
                self._wrong("inconsistent-seq", f"the transcript of {session} lacks message {message} at {seq}")

    def _run(self, r: Record) -> None:
        if r["status"] not in ("completed", "failed", "cancelled"):
            self._wrong("stuck", f"run {r['id']} is {r['status']}")

    def _effect(self, r: Record) -> None:
        called = self._called[r["key"]]
        if r["value"] > called:
            self._wrong("double-effect", f"{r['key']} took effect {r['value']} times, called {called} times")

    def _audit(self, r: Record) -> None:
        holders: dict[str, tuple[int, str]] = {}
        answered: dict[str, str] = {}  # run → who wrote its newest event, if that was a person's answer
        for item in r["items"]:
            run, epoch, writer = item["run"], item["epoch"], item["writer"]
            if item["type"] == "grant":
                if run in holders and epoch <= holders[run][0]:
                    self._wrong("zombie-write", f"a lease of {run} has epoch {epoch} after {holders[run][0]}")
                holders[run] = (epoch, writer)
            elif item["type"] == "effect":
                if run in holders and writer != holders[run][1]:
                    self.report.strange_effects.append(f"of {run} by {writer}, the lease is with {holders[run][1]}")
            elif item["type"] == "tool.returned" and answered.get(run) == writer:
                pass  # whoever was told that a lost call is to be left alone says so in the same transaction
            elif item["type"] in RUNNER_ONLY and run in holders and writer != holders[run][1]:
                self._wrong("zombie-write", f"{item['type']} of {run} by {writer}, the lease is with {holders[run][1]}")
            answered.pop(run, None)
            if item["type"] == "input.resolved":
                answered[run] = writer

    def finish(self) -> None:
        """What can be said only when all is known."""
        self._offers.finish()
        for user, session in self._followed - self._members if self._members else ():
            self._wrong("cross-tenant", f"{user} got events of {session}")
        for op in self._ops.values():
            if op.session in self._ends:
                key = (op.session, op.client_id)
                self.report.ledger["persisted"] += self._created[key]
                self._judge_op(op, self._created[key], self._created_at.get(key))
        for session, events in self._seen.items():
            self._wrong("phantom", f"{len(events)} events of {session}, which has no log")

    def _judge_op(self, op: _Op, count: int, at: tuple[int, str, str] | None) -> None:
        if op.seq is not None:
            self.report.ledger["acked"] += 1
            if count == 0:
                self._wrong("lost-acked", f"{op.client_id} was acknowledged at {op.seq}")
            elif count > 1:
                self._wrong("duplicate", f"{op.client_id} is {count} times in the log")
            elif at is not None and at[:2] != (op.seq, op.message):
                self._wrong("inconsistent-seq", f"{op.client_id} was acknowledged at {op.seq} and is at {at[0]}")
        elif count > 1:
            self._wrong("ambiguous-ack", f"{op.client_id} had no answer and is {count} times in the log")
        elif count == 1 and op.refused and not op.ambiguous:
            self._wrong("phantom", f"{op.client_id} was refused and is in the log")
        if at is not None and at[2] != op.text:
            self._wrong("inconsistent-seq", f"{op.client_id} was sent with another text")
