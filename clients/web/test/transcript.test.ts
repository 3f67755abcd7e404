import assert from "node:assert/strict";
import { test } from "node:test";
import type { DurableEvent, OpenMessage } from "agent-hub-client";
import type { AgentItem, Item } from "../src/store/items.ts";
import { Transcript } from "../src/store/transcript.ts";

const AGENTS = { alpha: "Alpha", beta: "Beta" };
const author = (name: keyof typeof AGENTS) => ({ kind: "agent", name, display_name: AGENTS[name] }) as const;

/** Events of one session, numbered as they come. */
function script() {
  let seq = 0;
  const event = (type: string, data: object, run: string | null = "r1") =>
    ({ type, session: "s", seq: ++seq, ts: "2026-01-01T00:00:00Z", ...(run ? { run } : {}), data }) as DurableEvent;
  return {
    said: (message: string, text: string, more: object = {}) =>
      event(
        "message.created",
        {
          message,
          author: { kind: "user", id: "u", name: "Ada" },
          text,
          parts: [],
          client_id: message,
          to: null,
          ...more,
        },
        null,
      ),
    queued: (run = "r1", input_seq = 1) => event("run.queued", { input_seq }, run),
    steered: (message: string, outcome: string) => event("message.steered", { message, outcome, turn: 1 }),
    requested: (request: string, more: object = {}) =>
      event("input.requested", {
        request,
        kind: "approval",
        agent: "alpha",
        prompt: "May I?",
        expires_at: "2026-01-01T01:00:00Z",
        ...more,
      }),
    resolved: (request: string, decision: string | null, text: string | null = null) =>
      event("input.resolved", { request, decision, text, by: { id: "u2", name: "Bob" } }),
    approved: (request: string, approvals: number) =>
      event("input.approved", { request, text: null, by: { id: "u2", name: "Bob" }, approvals, approvers: 2 }),
    started: (run = "r1") => event("run.started", { team: "duo", attempt: 1, node: "n" }, run),
    turn: (agent: string, turn = 0) => event("turn.started", { turn, agent, attempt: 1 }),
    completed: (message: string, text: string, status = "complete", name: keyof typeof AGENTS = "alpha") =>
      event("message.completed", {
        message,
        author: author(name),
        text,
        turn: 0,
        status,
        usage: { prompt_tokens: 1, completion_tokens: 2 },
      }),
    superseded: (...messages: string[]) =>
      event("turn.superseded", { turn: 0, attempt: 2, messages, reason: "worker_lost" }),
    called: (call: string) => event("tool.called", { call, agent: "alpha", name: "clock", arguments: {}, turn: 0 }),
    returned: (call: string) => event("tool.returned", { call, name: "clock", result: "noon", is_error: false }),
    redacted: (message: string, more: object = {}) =>
      event("message.redacted", { message, by: { id: "u", name: "Ada" }, ...more }),
    finished: (status = "completed", run = "r1", error?: object) =>
      event(
        "run.finished",
        {
          status,
          reason: "done",
          usage: { prompt_tokens: 1, completion_tokens: 2 },
          input_seq: 1,
          turns: 1,
          duration_ms: 1500,
          ...(error ? { error } : {}),
        },
        run,
      ),
    budget: (scope: string, limit: number) => event("budget.reached", { scope, quantity: "turns", limit, used: limit }),
    other: (type: string) => event(type, {}),
  };
}

const transcript = () => new Transcript((name) => AGENTS[name as keyof typeof AGENTS] ?? name);

function writing(id: string, text: string, name: keyof typeof AGENTS = "alpha", run = "r1"): OpenMessage {
  return { id, run, turn: 0, author: author(name), text, reasoning: "", waiting: false };
}

function line(item: Item): string {
  switch (item.kind) {
    case "user":
      return `user ${item.text.value}${item.fate.value.kind === "said" ? "" : ` (${item.fate.value.kind})`}`;
    case "agent":
      return `${item.author.name} ${item.phase.value} ${item.text.value}`;
    case "tool":
      return `tool ${JSON.stringify(item.outcome.value)}`;
    case "request":
      return `request ${typeof item.state.value === "string" ? item.state.value : `${item.state.value.decision} by ${item.state.value.by?.name}`}`;
    case "notice":
      return `${item.tone} ${item.text}`;
    case "branch":
      return `branch [${item.items.map(line).join(", ")}]`;
  }
}

const lines = (view: Transcript) => view.items.value.map(line);

test("a run from question to end", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.said("m1", "hi"));
  view.apply(play.queued());
  assert.deepEqual(view.run.value, { id: "r1", phase: "queued" });
  view.apply(play.started());
  view.apply(play.turn("alpha"));
  assert.deepEqual(view.run.value, { id: "r1", phase: "running" });
  assert.equal(view.activity.value.get("alpha"), "thinking");
  view.write(writing("m2", "wor"));
  assert.equal(view.activity.value.get("alpha"), "writing");
  assert.deepEqual(lines(view), ["user hi", "alpha writing wor"]);
  view.apply(play.completed("m2", "words"));
  view.apply(play.finished());
  assert.deepEqual(lines(view), ["user hi", "alpha complete words", "quiet 1 turn · 3 tokens · 1.5 s"]);
  assert.equal(view.run.value, null);
  assert.equal(view.activity.value.size, 0);
});

test("what is written stands below what is settled, and keeps its item when it settles", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.started());
  view.write(writing("m1", "first"));
  view.write(writing("m2", "second", "beta"));
  const second = view.items.value[1];
  view.apply(play.completed("m2", "second!", "complete", "beta"));
  assert.deepEqual(lines(view), ["beta complete second!", "alpha writing first"]);
  assert.equal(view.items.value[0], second);
});

test("a turn that is done again shows what was void", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.started());
  view.write(writing("m1", "lost"));
  view.apply(play.superseded("m1"));
  view.write(writing("m1", "lost and late"));
  assert.deepEqual(lines(view), [
    "alpha superseded lost",
    "warning Turn 1 was interrupted and is done again (worker lost)",
  ]);
});

test("tools show their outcome, also when it never came", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.started());
  view.apply(play.called("c1"));
  view.apply(play.called("c2"));
  view.apply(play.returned("c1"));
  assert.deepEqual(lines(view), ['tool {"result":"noon","isError":false}', 'tool "pending"']);
  view.apply(play.finished("cancelled"));
  assert.deepEqual(lines(view).slice(1), ['tool "unknown"', "quiet Stopped"]);
});

test("a failed run says why, and leaves no message open", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.started());
  view.write(writing("m1", "half"));
  view.apply(play.finished("failed", "r1", { code: "unavailable", message: "The model is away." }));
  assert.deepEqual(lines(view), ["alpha interrupted half", "error The model is away."]);
});

test("at a budget it is said once, and there is nothing to try again", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.budget("session", 3));
  view.apply(play.finished("failed", "r1", { code: "budget_exceeded", message: "a budget is used up" }));
  assert.deepEqual(lines(view), [
    "warning The budget of this session is used up: 3 of 3 turns",
    "quiet The run ended here",
  ]);
});

test("the next run in the queue is shown when one ends", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.queued("r1"));
  view.apply(play.started("r1"));
  view.apply(play.queued("r2"));
  view.apply(play.finished("completed", "r1"));
  assert.deepEqual(view.run.value, { id: "r2", phase: "queued" });
  view.apply(play.finished("cancelled", "r2"));
  assert.equal(view.run.value, null);
});

test("a message says that its run waits, until it begins", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.said("m1", "one"));
  view.apply(play.queued("r1", 1));
  view.apply(play.started("r1"));
  const second = play.said("m2", "two");
  view.apply(second);
  view.apply(play.queued("r2", second.seq));
  assert.deepEqual(lines(view), ["user one", "user two (queued)"]);
  view.apply(play.finished("completed", "r1"));
  view.apply(play.started("r2"));
  assert.deepEqual(lines(view), ["user one", "quiet 1 turn · 3 tokens · 1.5 s", "user two"]);
});

test("each answer follows its question, whenever that was asked", () => {
  const [view, play] = [transcript(), script()];
  const events = [play.said("m1", "one"), play.queued("r1", 1), play.started("r1"), play.said("m2", "two")];
  events.push(play.queued("r2", events[3]!.seq));
  for (const event of events) view.apply(event);
  view.write(writing("a1", "to one"));
  view.apply(play.turn("alpha"));
  assert.deepEqual(lines(view), ["user one", "alpha writing to one", "user two (queued)"]);
  const rest = [play.completed("a1", "to one"), play.finished("completed", "r1"), play.started("r2")];
  for (const event of [...rest, play.completed("a2", "to two")]) view.apply(event);
  const talk = [
    "user one",
    "alpha complete to one",
    "quiet 1 turn · 3 tokens · 1.5 s",
    "user two",
    "alpha complete to two",
  ];
  assert.deepEqual(lines(view), talk);
  view.prepend([]); // folded anew
  assert.deepEqual(lines(view), talk);
});

test("a failed run says which message has no answer, in a sentence", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.finished("failed", "r1", { code: "unavailable", message: "the model is away" }));
  const last = view.items.value.at(-1);
  assert.deepEqual(last?.kind === "notice" && [last.text, last.unanswered], ["The model is away.", 1]);
});

test("a message that steers says what came of it", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.started());
  view.apply(play.said("m1", "shorter", { steers: "r1" }));
  view.apply(play.said("m2", "too late", { steers: "r1" }));
  assert.deepEqual(lines(view), ["user shorter (steering)", "user too late (steering)"]);
  view.apply(play.steered("m1", "consumed"));
  view.apply(play.steered("m2", "follow_up"));
  assert.deepEqual(lines(view), ["user shorter (steered)", "user too late (follow_up)"]);
});

test("an edited message sets aside what stood there, also what is loaded later", () => {
  const play = script();
  const events = [
    play.said("m1", "hello"),
    play.completed("m2", "hi"),
    play.said("m3", "typo"),
    play.completed("m4", "eh?"),
    play.redacted("m3", { reason: "edited" }),
    play.redacted("m4", { reason: "edited" }),
    play.said("m5", "no typo", { replaces: "m3" }),
    play.completed("m6", "ah"),
  ];
  const whole = ["user hello", "alpha complete hi", "branch [user typo, alpha complete eh?]"];
  const rest = ["user no typo", "alpha complete ah"];
  const view = transcript();
  for (const event of events) view.apply(event);
  assert.deepEqual(lines(view), [...whole, ...rest]);

  const late = transcript();
  for (const event of events.slice(3)) late.apply(event);
  assert.deepEqual(lines(late), ["branch [alpha complete eh?]", ...rest]);
  late.prepend(events.slice(0, 3));
  assert.deepEqual(lines(late), [...whole, ...rest]);
});

test("an answer that is made again is set aside with what led to it", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.said("m1", "what time is it?"));
  view.apply(play.started());
  view.apply(play.called("c1"));
  view.apply(play.returned("c1"));
  view.apply(play.completed("m2", "noon"));
  view.apply(play.completed("m3", "indeed", "complete", "beta"));
  view.apply(play.redacted("m2", { reason: "regenerated" }));
  view.apply(play.redacted("m3", { reason: "regenerated" }));
  view.apply(play.completed("m4", "one"));
  const set = 'tool {"result":"noon","isError":false}, alpha complete noon, beta complete indeed';
  assert.deepEqual(lines(view), ["user what time is it?", `branch [${set}]`, "alpha complete one"]);
  view.apply(play.redacted("m4", { reason: "regenerated" }));
  assert.deepEqual(lines(view).slice(1), [`branch [${set}]`, "branch [alpha complete one]"]);
});

test("a request knows its call, and how it was answered", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.started());
  view.apply(play.called("c1"));
  view.apply(play.requested("q1", { call: "c1" }));
  const [call, request] = view.items.value;
  assert.ok(call?.kind === "tool" && request?.kind === "request");
  assert.equal(request.tool, call);
  assert.equal(call.waits.value, true);
  assert.equal(view.waits.value, true);
  view.apply(play.approved("q1", 1));
  assert.deepEqual(request.yeses.value, ["Bob"]);
  assert.equal(view.waits.value, true);
  view.apply(play.resolved("q1", "reject", "too much"));
  assert.deepEqual(lines(view), ['tool "pending"', "request reject by Bob"]);
  assert.equal(call.waits.value, false);
  assert.equal(view.waits.value, false);
  view.apply(play.requested("q2"));
  view.apply(play.finished("cancelled"));
  assert.equal(lines(view)[2], "request abandoned");
  assert.equal(view.waits.value, false);
});

test("what was redacted is gone", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.said("m1", "secret"));
  view.apply(play.completed("m2", "secret too"));
  view.apply(play.redacted("m1"));
  view.apply(play.redacted("m2"));
  assert.deepEqual(lines(view), ["user  (redacted)", "alpha redacted "]);
});

test("older events go before, finished messages keep their items, open ones stay", () => {
  const [view, play] = [transcript(), script()];
  const early = [play.said("m1", "long ago"), play.started(), play.called("c1")];
  view.apply(play.returned("c1"));
  view.apply(play.completed("m2", "answer"));
  view.write(writing("m3", "now", "beta"));
  const [answer, now] = view.items.value as AgentItem[];
  view.prepend(early);
  assert.deepEqual(lines(view), [
    "user long ago",
    'tool {"result":"noon","isError":false}',
    "alpha complete answer",
    "beta writing now",
  ]);
  assert.equal(view.items.value[2], answer);
  assert.equal(view.items.value[3], now);
  assert.equal(view.firstSeq, 1);
  view.apply(play.completed("m3", "now!", "complete", "beta"));
  assert.equal(lines(view).at(-1), "beta complete now!");
});

test("events this version does not know leave no trace", () => {
  const [view, play] = [transcript(), script()];
  view.apply(play.other("moon.rose"));
  assert.deepEqual(lines(view), []);
  assert.equal(view.lastSeq, 1);
});
