import { OpenMessages, type OpenMessage } from "./assembly.ts";
import type { Connection } from "./connection.ts";
import { jitter } from "./backoff.ts";
import { HubError } from "./errors.ts";
import type { AgentStatus, AnyEvent, DurableEvent, JoinResult, LiveEvent, PresenceChanged } from "./protocol.ts";

/** What following a session tells. Durable events come in order, each once, over all reconnections. */
export interface SessionListener {
  /** The hub has let us in, the first time or again; the replay follows. */
  joined?(join: JoinResult): void;
  event?(event: DurableEvent): void;
  /** A live event as it came, as far as it is news: no piece twice, none before one that is missing. */
  live?(event: LiveEvent): void;
  /** The text or reasoning of an open message has grown or was replaced. */
  writing?(message: OpenMessage): void;
  presence?(event: PresenceChanged): void;
  status?(event: AgentStatus): void;
  /** The hub's log is not the one we knew (it was restored): what was shown before is void. */
  reset?(): void;
  /** The session cannot be followed (any more). */
  failed?(error: HubError): void;
}

/** One session that is followed: its place in the log, its open messages, and how it comes back after a loss. */
export class Following {
  readonly session: string;
  readonly #connection: Connection;
  readonly #listener: SessionListener;
  readonly #open = new OpenMessages();
  #seq: number | null;
  #phase: "apart" | "joining" | "joined" | "ended" = "apart";
  #attempt = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection, session: string, afterSeq: number | null, listener: SessionListener) {
    this.#connection = connection;
    this.session = session;
    this.#seq = afterSeq;
    this.#listener = listener;
  }

  /** The seq of the last durable event that was handed on; null before the first join without a position. */
  get seq(): number | null {
    return this.#seq;
  }

  get openMessages(): OpenMessage[] {
    return this.#open.all();
  }

  /** Joins (again) from where we are. Called when a connection is there. */
  join(): void {
    if (this.#phase === "ended") return;
    clearTimeout(this.#retry);
    this.#phase = "joining";
    const after = this.#seq === null ? {} : { after_seq: this.#seq };
    const command = { type: "session.join", session: this.session, ...after } as const;
    this.#connection.request(command, null, false, (outcome) => {
      if (this.#phase !== "joining") return;
      if (outcome instanceof HubError) this.#refused(outcome);
      else this.#joined(outcome as unknown as JoinResult);
    });
  }

  /** Stops following. */
  leave(): void {
    if (this.#phase === "joined") this.#sendLeave();
    this.end();
  }

  /** Stops without a word to the hub. */
  end(): void {
    this.#phase = "ended";
    clearTimeout(this.#retry);
  }

  /** A frame about this session. */
  receive(event: AnyEvent): void {
    if (this.#phase !== "joined") return;
    if ("seq" in event) return this.#durable(event);
    switch (event.type) {
      case "message.delta":
        return this.#writing(event, this.#open.delta(event));
      case "message.snapshot":
        return this.#writing(event, this.#open.snapshot(event));
      case "reasoning.delta":
        return this.#writing(event, this.#open.reasoning(event));
      case "presence.changed":
        this.#listener.live?.(event);
        return this.#listener.presence?.(event);
      case "agent.status":
        this.#listener.live?.(event);
        return this.#listener.status?.(event);
      case "resync":
        if (event.data.from_seq > (this.#seq ?? 0)) this.#rejoin();
        return;
      default: // a type that this version does not know, or one that is not about a session
        return;
    }
  }

  #durable(event: DurableEvent): void {
    const expected = (this.#seq ?? event.seq - 1) + 1;
    if (event.seq < expected) return; // known already
    if (event.seq > expected) return this.#rejoin();
    this.#seq = event.seq;
    if (event.type === "message.completed" || event.type === "message.redacted") this.#open.close(event.data.message);
    else if (event.type === "turn.superseded") for (const message of event.data.messages) this.#open.close(message);
    else if (event.type === "run.finished" && event.run) this.#open.closeRun(event.run);
    this.#listener.event?.(event);
  }

  #writing(event: LiveEvent, message: OpenMessage | null): void {
    if (message === null) return;
    this.#listener.live?.(event);
    this.#listener.writing?.(message);
  }

  #joined(join: JoinResult): void {
    this.#phase = "joined";
    this.#attempt = 0;
    this.#seq ??= join.replay_from - 1;
    this.#listener.joined?.(join);
  }

  #refused(error: HubError): void {
    this.#phase = "apart";
    const last = error.details["last_seq"];
    if (error.code === "bad_request" && typeof last === "number" && last < (this.#seq ?? 0)) {
      this.#seq = null;
      this.#open.clear();
      this.#listener.reset?.();
      return this.join();
    }
    if (error.code === "connection_lost") return; // joins again with the next connection
    if (!error.retryable) {
      this.#phase = "ended";
      return this.#listener.failed?.(error);
    }
    const delay = (error.retryAfter ?? 0) * 1000 + jitter(this.#attempt++) + 100;
    this.#retry = setTimeout(() => this.join(), delay);
  }

  /** Something is missing: the log has it. */
  #rejoin(): void {
    this.#sendLeave();
    this.join();
  }

  #sendLeave(): void {
    this.#connection.request({ type: "session.leave", session: this.session }, null, false, () => undefined);
  }
}
