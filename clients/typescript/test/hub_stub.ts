import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer, type RawData } from "ws";

type Fields = Record<string, unknown>;
export type Received = Fields & { id: string; type: string };

/** The WebSocket class of the platform, as the client wants it; Node 20 has none of its own. */
export const Socket = WebSocket as unknown as new (url: string, protocols?: string | string[]) => globalThis.WebSocket;

const DEADLINE_MS = 5_000;

/** One side of a real socket that a test plays by hand. */
export class Peer {
  readonly url: string;
  readonly #socket: WebSocket;
  readonly #frames: Received[] = [];

  constructor(socket: WebSocket, url: string) {
    this.#socket = socket;
    this.url = url;
    socket.on("message", (raw: RawData) => this.#frames.push(JSON.parse(raw.toString()) as Received));
  }

  hello(heartbeat_s = 25): void {
    this.say({
      type: "hello",
      connection: "c",
      node: "n",
      user: { id: "u", name: "Ada" },
      expires_at: "2030-01-01T00:00:00Z",
      heartbeat_s,
      limits: { frame_bytes: 65536, commands_per_minute: 120, sessions: 100 },
    });
  }

  /** Several objects in one frame, as the hub may send them. */
  say(...objects: Fields[]): void {
    this.#socket.send(objects.map((object) => JSON.stringify(object)).join("\n"));
  }

  /** What no hub says. */
  mumble(text: string): void {
    this.#socket.send(text);
  }

  /** The next command of this type, in the order in which they came. */
  async expect(type: string): Promise<Received> {
    return until(() => {
      const index = this.#frames.findIndex((frame) => frame.type === type);
      return index < 0 ? undefined : this.#frames.splice(index, 1)[0];
    }, type);
  }

  reply(command: Received, result: Fields): void {
    this.say({ type: "reply", id: command.id, ok: true, result });
  }

  refuse(command: Received, error: Fields): void {
    const whole = { code: "internal", message: "no", retryable: false, retry_after: null, details: {}, ...error };
    this.say({ type: "reply", id: command.id, ok: false, error: whole });
  }

  close(code: number): void {
    this.#socket.close(code);
  }

  /** Ends the connection without a closing frame. */
  cut(): void {
    this.#socket.terminate();
  }
}

/** A WebSocket server whose every answer is a line of the test. */
export class HubStub {
  readonly #server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "hub.v1" });
  readonly #peers: Peer[] = [];
  #seen = 0;

  constructor() {
    this.#server.on("connection", (socket, request) => this.#peers.push(new Peer(socket, request.url ?? "")));
  }

  get connections(): number {
    return this.#peers.length;
  }

  async url(): Promise<string> {
    if (this.#server.address() === null) await once(this.#server, "listening");
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1/ws`;
  }

  /** The next connection. */
  async peer(): Promise<Peer> {
    const peer = await until(() => this.#peers[this.#seen], "a connection");
    this.#seen += 1;
    return peer;
  }

  close(): void {
    for (const client of this.#server.clients) client.terminate();
    this.#server.close();
  }
}

/** Waits until there is a value; fails loudly when none comes. */
export async function until<T>(look: () => T | undefined, what: string): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`waited ${DEADLINE_MS} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
