import { Connection, type ConnectionOptions, type ConnectionState } from "./connection.ts";
import { HubError } from "./errors.ts";
import { Following, type SessionListener } from "./following.ts";
import type {
  AuthResult,
  Command,
  Empty,
  JoinResult,
  MessageSend,
  OnBusy,
  PingResult,
  PresenceSet,
  RunCommandResult,
  SendResult,
  SeqResult,
  SeqRunResult,
  ServerDraining,
  SessionCreate,
  SessionData,
} from "./protocol.ts";

/** What each command is answered with. */
export interface ResultOf {
  auth: AuthResult;
  ping: PingResult;
  "session.create": SessionData;
  "session.join": JoinResult;
  "session.leave": Empty;
  "message.send": SendResult;
  "message.edit": SeqRunResult;
  "message.regenerate": SeqRunResult;
  "run.cancel": RunCommandResult;
  "run.pause": RunCommandResult;
  "run.resume": RunCommandResult;
  "input.respond": SeqResult;
  "session.fork": SessionData;
  "presence.set": Empty;
}

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

export interface HubOptions extends ConnectionOptions {
  onState?: (state: ConnectionState) => void;
  /** The hub is about to restart; connections come back by themselves. */
  onDraining?: (event: ServerDraining) => void;
}

/** A client of the hub: commands as promises, sessions as listeners, everything resumed by itself. */
export class Hub {
  readonly #connection: Connection;
  readonly #followed = new Map<string, Following>();

  constructor(options: HubOptions) {
    this.#connection = new Connection(options, {
      state: (state) => options.onState?.(state),
      open: () => this.#followed.forEach((following) => following.join()),
      frame: (frame) => {
        if (frame.type === "server.draining") options.onDraining?.(frame);
        else if (frame.session) this.#followed.get(frame.session)?.receive(frame);
      },
    });
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  connect(): void {
    this.#connection.start();
  }

  /** Does not wait for the next attempt to reconnect. */
  reconnectNow(): void {
    this.#connection.reconnectNow();
  }

  /** Finds out whether the connection still lives, as after a sleep or a change of network. */
  probe(): void {
    this.#connection.probe();
  }

  /** Ends the connection and everything that is followed. */
  close(): void {
    for (const following of this.#followed.values()) following.end();
    this.#followed.clear();
    this.#connection.close();
  }

  /**
   * Follows a session: its events after `afterSeq` (null: the last 50), then everything live, over reconnections,
   * until `leave()`. A session is followed once at a time: following it again replaces the listener before.
   */
  follow(session: string, afterSeq: number | null, listener: SessionListener): Following {
    this.#followed.get(session)?.leave();
    const following = new Following(this.#connection, session, afterSeq, listener);
    this.#followed.set(session, following);
    if (this.#connection.state.kind === "open") following.join();
    return following;
  }

  /** Stops following a session. */
  leave(following: Following): void {
    following.leave();
    if (this.#followed.get(following.session) === following) this.#followed.delete(following.session);
  }

  /** Sends any command. `message.send` survives a lost connection: its `client_id` makes it safe to repeat. */
  command<T extends Command["type"]>(
    command: Without<Extract<Command, { type: T }>, "id"> & { type: T },
    timeoutMs: number | null = null,
  ): Promise<ResultOf[T]> {
    return new Promise((resolve, reject) => {
      this.#connection.request(command, timeoutMs, command.type === "message.send", (outcome) => {
        if (outcome instanceof HubError) reject(outcome);
        else resolve(outcome as unknown as ResultOf[T]);
      });
    });
  }

  createSession(
    team: string,
    options: Pick<SessionCreate, "title" | "metadata" | "on_busy"> = {},
  ): Promise<SessionData> {
    return this.command({ type: "session.create", team, ...options });
  }

  /** Says something. Resolved: it is durable. With the same `clientId` it may be called again and is said once. */
  send(
    session: string,
    text: string,
    options: { clientId?: string; to?: string; onBusy?: OnBusy; timeoutMs?: number } = {},
  ): Promise<SendResult> {
    const command: Without<MessageSend, "id"> = {
      type: "message.send",
      session,
      text,
      client_id: options.clientId ?? newClientId(),
    };
    if (options.to !== undefined) command.to = options.to;
    if (options.onBusy !== undefined) command.on_busy = options.onBusy;
    return this.command(command, options.timeoutMs ?? null);
  }

  cancel(session: string, run?: string): Promise<RunCommandResult> {
    return this.command({ type: "run.cancel", session, ...(run === undefined ? {} : { run }) });
  }

  setPresence(session: string, status: PresenceSet["status"]): Promise<Empty> {
    return this.command({ type: "presence.set", session, status });
  }

  ping(): Promise<PingResult> {
    return this.command({ type: "ping" });
  }
}

/** A key that makes one message safe to send again. Needs no secure context, unlike `crypto.randomUUID`. */
export function newClientId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
