import { batch, computed, signal, type Signal } from "@preact/signals";
import type {
  AgentAuthor,
  AgentStatusData,
  DurableEvent,
  MessageCompleted,
  MessageCreated,
  OpenMessage,
} from "agent-hub-client";
import type { AgentItem, Attached, Fate, Item, NoticeItem, Phase, RequestItem, ToolItem, UserItem } from "./items.ts";
import { notice } from "./notices.ts";

export type AgentActivity = AgentStatusData["status"];

/** The run that is live, or the one that waits for its turn when none is. */
export interface RunView {
  id: string;
  phase: "queued" | "running";
}

/**
 * A session as people read it, folded from its events. Durable items stand in the order of the log; messages that are
 * being written stand below them in the order in which they were opened. What somebody says while the team is at work
 * stands where the team turns to it, and below everything until then: so each answer follows its question.
 */
export class Transcript {
  readonly items = signal<readonly Item[]>([]);
  readonly run = signal<RunView | null>(null);
  readonly activity = signal<ReadonlyMap<string, AgentActivity>>(new Map());
  /** Whether somebody is asked for an answer. */
  readonly waits = computed(() =>
    this.items.value.some((item) => item.kind === "request" && item.state.value === "open"),
  );
  readonly #displayName: (agent: string) => string;
  readonly #events: DurableEvent[] = [];
  readonly #byKey = new Map<string, Item>();
  #settled: Item[] = [];
  #open: AgentItem[] = [];
  #queued: string[] = [];

  /** `displayName`: an agent's name as people see it. */
  constructor(displayName: (agent: string) => string) {
    this.#displayName = displayName;
  }

  /** The seq of the first event that is shown; null: nothing is. */
  get firstSeq(): number | null {
    return this.#events[0]?.seq ?? null;
  }

  get lastSeq(): number {
    return this.#events.at(-1)?.seq ?? 0;
  }

  apply(event: DurableEvent): void {
    batch(() => {
      this.#events.push(event);
      this.#fold(event);
      this.#publish();
    });
  }

  /** Puts older events before those that are shown. Finished messages keep their items, and with them their look. */
  prepend(earlier: readonly DurableEvent[]): void {
    batch(() => {
      const events = [...earlier, ...this.#events];
      const known = new Map(this.#byKey);
      const [open, activity] = [this.#open, this.activity.value];
      this.#clear();
      for (const event of events) {
        this.#events.push(event);
        this.#fold(event);
      }
      this.#settled = this.#settled.map((item) => reuse(known.get(item.key), item));
      for (const item of [...this.#settled, ...open]) this.#byKey.set(item.key, item);
      this.#open = open;
      this.activity.value = activity;
      this.#publish();
    });
  }

  /** An open message has grown or was replaced. */
  write(message: OpenMessage): void {
    const known = this.#byKey.get(message.id);
    const item = known?.kind === "agent" ? known : this.#openItem(message);
    if (item.phase.value !== "writing") return;
    batch(() => {
      item.text.value = message.text;
      item.reasoning.value = message.reasoning;
      if (this.activity.value.get(message.author.name) !== "writing") this.setActivity(message.author.name, "writing");
    });
  }

  setActivity(agent: string, activity: AgentActivity): void {
    this.activity.value = new Map(this.activity.value).set(agent, activity);
  }

  /** Forgets everything. */
  reset(): void {
    batch(() => {
      this.#clear();
      this.#publish();
    });
  }

  #clear(): void {
    this.#events.length = 0;
    this.#byKey.clear();
    this.#settled = [];
    this.#open = [];
    this.#queued = [];
    this.run.value = null;
    this.activity.value = new Map();
  }

  #publish(): void {
    const waits = this.#settled.filter(isQueued);
    if (waits.length === 0) this.items.value = [...this.#settled, ...this.#open];
    else this.items.value = [...this.#settled.filter((item) => !isQueued(item)), ...this.#open, ...waits];
  }

  #fold(event: DurableEvent): void {
    switch (event.type) {
      case "message.created": {
        this.#add(userItem(event));
        break;
      }
      case "message.completed":
        this.#completed(event);
        break;
      case "message.redacted":
        if (event.data.reason) this.#cut(event.data.message, event.seq);
        else this.#redact(event.data.message, event.data.by.name);
        break;
      case "tool.called": {
        const { call, agent, name, arguments: given } = event.data;
        const run = event.run ?? null;
        const [waits, outcome] = [signal(false), signal("pending" as ToolItem["outcome"]["value"])];
        this.#add({ kind: "tool", key: call, agent, name, arguments: given, waits, outcome, run });
        this.setActivity(agent, "calling");
        break;
      }
      case "tool.returned": {
        const call = this.#byKey.get(event.data.call);
        if (call?.kind !== "tool") break;
        call.outcome.value = { result: event.data.result, isError: event.data.is_error };
        this.setActivity(call.agent, "thinking");
        break;
      }
      case "input.requested": {
        const tool = this.#byKey.get(event.data.call ?? "");
        if (tool?.kind === "tool") tool.waits.value = true;
        this.#add({
          kind: "request",
          key: event.data.request,
          request: event.data,
          tool: tool?.kind === "tool" ? tool : null,
          run: event.run ?? null,
          yeses: signal<readonly string[]>([]),
          state: signal<RequestItem["state"]["value"]>("open"),
        });
        break;
      }
      case "input.approved": {
        const request = this.#byKey.get(event.data.request);
        if (request?.kind === "request") request.yeses.value = [...request.yeses.value, event.data.by.name];
        break;
      }
      case "input.resolved": {
        const request = this.#byKey.get(event.data.request);
        if (request?.kind === "request") this.#answer(request, { ...event.data, at: event.ts });
        break;
      }
      case "message.steered": {
        const { message, outcome, turn } = event.data;
        const kind = outcome === "consumed" ? "steered" : "follow_up";
        this.#decide(message, kind === "steered" ? { kind, turn: turn ?? null } : { kind });
        break;
      }
      case "run.queued":
        if (event.run) this.#wait(event.run, event.data.input_seq);
        this.#showRun();
        break;
      case "run.started":
        if (event.run) this.#served(event.run);
        if (event.run) this.run.value = { id: event.run, phase: "running" };
        break;
      case "turn.started":
        this.setActivity(event.data.agent, "thinking");
        break;
      case "turn.superseded":
        for (const message of event.data.messages) this.#supersede(message);
        break;
      case "run.finished":
        this.#finished(event.run ?? null);
        break;
      default: // events that only leave a notice, if anything, and those this version does not know
        break;
    }
    const words = notice(event, this.#displayName);
    if (words) this.#add({ kind: "notice", key: `seq-${event.seq}`, ...words } satisfies NoticeItem);
  }

  #add(item: Item): void {
    this.#byKey.set(item.key, item);
    this.#settled.push(item);
  }

  #completed(event: MessageCompleted): void {
    const { message, author, text, reasoning, status, usage, turn } = event.data;
    const known = this.#byKey.get(message);
    const item = known?.kind === "agent" ? known : agentItem(message, author, event.run ?? null, turn);
    item.text.value = text;
    item.reasoning.value = reasoning ?? item.reasoning.value;
    item.usage.value = usage;
    item.seq.value = event.seq;
    item.at.value = event.ts;
    this.#settle(item, status);
    this.setActivity(author.name, "idle");
  }

  #supersede(message: string): void {
    const item = this.#byKey.get(message);
    if (item?.kind !== "agent") return;
    this.setActivity(item.author.name, "idle");
    if (item.phase.value === "writing") this.#settle(item, "superseded");
    else item.phase.value = "superseded";
  }

  /**
   * A message is not part of the conversation any more, because it or one before it was edited or is answered again:
   * it is folded away, with all that came after it. An answer takes along what led to it, such as calls of tools.
   */
  #cut(message: string, seq: number): void {
    let place = this.#settled.findIndex((item) => item.key === message);
    // Known, but folded away already: with the first message that was cut. Not known: all that is loaded came after it.
    if (place < 0 && this.#byKey.has(message)) return;
    const isAnswer = this.#settled[place]?.kind === "agent";
    while (isAnswer && !["user", "branch"].includes(this.#settled[place - 1]?.kind ?? "user")) place -= 1;
    const cut = this.#settled.splice(Math.max(0, place));
    if (cut.length > 0) this.#settled.push({ kind: "branch", key: `branch-${seq}`, items: cut });
  }

  #redact(message: string, by: string): void {
    const item = this.#byKey.get(message);
    if (item?.kind === "user") {
      item.text.value = "";
      item.fate.value = { kind: "redacted", by };
    }
    if (item?.kind !== "agent") return;
    item.text.value = item.reasoning.value = "";
    if (item.phase.value === "writing") this.#settle(item, "redacted");
    else item.phase.value = "redacted";
  }

  #finished(run: string | null): void {
    for (const item of this.#open) if (item.run === run) this.#settle(item, "interrupted");
    for (const item of this.#settled) {
      if (item.kind === "tool" && item.run === run && item.outcome.value === "pending") item.outcome.value = "unknown";
    }
    for (const item of this.#settled) {
      if (item.kind === "request" && item.run === run && item.state.value === "open") this.#answer(item, "abandoned");
    }
    if (run !== null) this.#served(run);
    if (this.run.value?.id === run || this.run.value?.phase === "queued") this.run.value = null;
    this.#showRun();
    if (this.run.value?.phase !== "running") this.activity.value = new Map();
  }

  #showRun(): void {
    const next = this.#queued[0];
    if (this.run.value === null && next !== undefined) this.run.value = { id: next, phase: "queued" };
  }

  /** A run waits; the message that asked for it says so, unless the run is the next and starts at once. */
  #wait(run: string, inputSeq: number): void {
    this.#queued.push(run);
    if (this.run.value === null) return;
    const input = this.#settled.findLast((item) => item.kind === "user" && item.seq === inputSeq);
    if (input?.kind === "user" && input.fate.value.kind === "said") input.fate.value = { kind: "queued", run };
  }

  /** A run waits no longer. */
  #served(run: string): void {
    this.#queued = this.#queued.filter((queued) => queued !== run);
    const place = this.#settled.findIndex((item) => isQueued(item) && item.fate.value.run === run);
    const [item] = place < 0 ? [] : this.#settled.splice(place, 1);
    if (item?.kind !== "user") return;
    item.fate.value = { kind: "said" };
    this.#settled.push(item);
  }

  #answer(item: RequestItem, state: RequestItem["state"]["value"]): void {
    item.state.value = state;
    if (item.tool) item.tool.waits.value = false;
  }

  #decide(message: string, fate: Fate): void {
    const item = this.#byKey.get(message);
    if (item?.kind === "user") item.fate.value = fate;
  }

  #openItem(message: OpenMessage): AgentItem {
    const item = agentItem(message.id, message.author, message.run, message.turn);
    this.#byKey.set(item.key, item);
    this.#open.push(item);
    this.#publish();
    return item;
  }

  #settle(item: AgentItem, phase: Phase): void {
    item.phase.value = phase;
    this.#open = this.#open.filter((other) => other !== item);
    this.#byKey.set(item.key, item);
    this.#settled.push(item);
  }
}

function userItem(event: MessageCreated): UserItem {
  const { message, author, text, parts, to, client_id, replaces, steers } = event.data;
  return {
    kind: "user",
    key: message,
    seq: event.seq,
    author,
    text: signal(text),
    attached: parts.flatMap(attached),
    to,
    at: event.ts,
    clientId: client_id,
    replaces: replaces ?? null,
    fate: signal<Fate>({ kind: steers ? "steering" : "said" }),
  };
}

type QueuedItem = UserItem & { fate: Signal<Extract<Fate, { kind: "queued" }>> };

function isQueued(item: Item): item is QueuedItem {
  return item.kind === "user" && item.fate.value.kind === "queued";
}

function attached(part: Record<string, unknown>): Attached[] {
  const { type, id, name, media_type: mediaType, size } = part;
  if (type !== "attachment" || typeof id !== "string" || typeof size !== "number") return [];
  return [{ id, name: String(name), mediaType: String(mediaType), size }];
}

function agentItem(key: string, author: AgentAuthor, run: string | null, turn: number): AgentItem {
  const text: Signal<string> = signal("");
  const phase: Signal<Phase> = signal("writing");
  return {
    kind: "agent",
    key,
    author,
    run,
    turn,
    seq: signal<number | null>(null),
    text,
    phase,
    reasoning: signal(""),
    usage: signal(null),
    at: signal(null),
  };
}

function reuse(known: Item | undefined, item: Item): Item {
  return known?.kind === "agent" && item.kind === "agent" && known.phase.value === item.phase.value ? known : item;
}
