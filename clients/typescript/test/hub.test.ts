import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import type { Credential } from "../src/connection.ts";
import { HubError } from "../src/errors.ts";
import { Hub, type HubOptions } from "../src/hub.ts";
import type { DurableEvent, JoinResult } from "../src/protocol.ts";
import { HubStub, Socket, until, type Peer, type Received } from "./hub_stub.ts";

let stub: HubStub;
const hubs: Hub[] = [];

beforeEach(() => {
  stub = new HubStub();
});

afterEach(() => {
  for (const hub of hubs.splice(0)) hub.close();
  stub.close();
});

async function client(options: Partial<HubOptions> = {}): Promise<Hub> {
  const hub = new Hub({
    url: await stub.url(),
    credential: async () => ({ ticket: "t 1" }),
    webSocket: Socket,
    ...options,
  });
  hubs.push(hub);
  hub.connect();
  return hub;
}

async function connected(options: Partial<HubOptions> = {}): Promise<{ hub: Hub; peer: Peer }> {
  const hub = await client(options);
  const peer = await stub.peer();
  peer.hello();
  await until(() => (hub.state.kind === "open" ? true : undefined), "hello");
  return { hub, peer };
}

const join = (replay_from: number, last_seq: number) => ({
  session: "s",
  role: "owner",
  last_seq,
  replay_from,
  presence: [],
});

function event(seq: number, type = "message.steered", data: object = { message: "m", outcome: "consumed" }) {
  return { type, session: "s", seq, ts: "2026-01-01T00:00:00Z", data };
}

const delta = (index: number, text: string) => ({
  type: "message.delta",
  session: "s",
  run: "r",
  data: { message: "m", turn: 0, author: { kind: "agent", name: "a", display_name: "A" }, index, text },
});

function listener() {
  const events: DurableEvent[] = [];
  const joins: JoinResult[] = [];
  const errors: HubError[] = [];
  const texts: string[] = [];
  return {
    events,
    joins,
    errors,
    texts,
    event: (e: DurableEvent) => void events.push(e),
    joined: (j: JoinResult) => void joins.push(j),
    failed: (e: HubError) => void errors.push(e),
    writing: (m: { text: string }) => void texts.push(m.text),
    seqs: () => events.map(({ seq }) => seq),
  };
}

test("a ticket goes into the address, a token into the first frame", async () => {
  await client();
  assert.equal((await stub.peer()).url, "/v1/ws?ticket=t%201");
  await client({ credential: async () => ({ token: "secret" }) });
  const peer = await stub.peer();
  assert.equal(peer.url, "/v1/ws");
  assert.equal((await peer.expect("auth"))["token"], "secret");
});

test("commands are answered with their result or their error", async () => {
  const { hub, peer } = await connected();
  const [one, two] = [hub.ping(), hub.cancel("s")];
  const [ping, cancel] = [await peer.expect("ping"), await peer.expect("run.cancel")];
  peer.refuse(cancel, { code: "not_found", message: "No run." });
  peer.reply(ping, { time: "now" });
  assert.deepEqual(await one, { time: "now" });
  await assert.rejects(two, (error) => error instanceof HubError && error.code === "not_found");
});

test("where there is no WebSocket it is said at once, and what to do", (context) => {
  const platform = globalThis as { WebSocket?: unknown };
  const own = platform.WebSocket;
  context.after(() => (platform.WebSocket = own));
  platform.WebSocket = undefined;
  const options = { url: "ws://127.0.0.1:1", credential: async () => ({ ticket: "t" }) };
  assert.throws(() => new Hub(options), /npm install ws/);
});

test("every command of a session says what it was called for", async () => {
  const { hub, peer } = await connected();
  const calls: [Promise<unknown>, string, object][] = [
    [hub.edit("s", "m", "better"), "message.edit", { message: "m", text: "better" }],
    [hub.regenerate("s", "m"), "message.regenerate", { message: "m" }],
    [hub.cancel("s", "r"), "run.cancel", { run: "r" }],
    [hub.pause("s"), "run.pause", {}],
    [hub.resume("s"), "run.resume", {}],
    [
      hub.respond("s", "q", { decision: "reject", text: "no" }),
      "input.respond",
      { request: "q", decision: "reject", text: "no" },
    ],
    [hub.fork("s", 7), "session.fork", { at_seq: 7 }],
    [
      hub.send("s", "now", { clientId: "k", onBusy: "steer", to: "a" }),
      "message.send",
      { text: "now", client_id: "k", on_busy: "steer", to: "a" },
    ],
  ];
  for (const [answer, type, fields] of calls) {
    const { id, ...command } = await peer.expect(type);
    assert.deepEqual(command, { type, session: "s", ...fields });
    peer.say({ type: "reply", id, ok: true, result: { of: type } });
    assert.deepEqual(await answer, { of: type });
  }
});

test("one can wait for the connection, and learns when there will be none", async () => {
  const hub = await client();
  const waiting = hub.connected();
  const peer = await stub.peer();
  peer.hello();
  assert.equal((await waiting).user.name, "Ada");
  assert.equal((await hub.connected()).user.name, "Ada");
  peer.close(4503);
  await until(() => (hub.state.kind === "stopped" ? true : undefined), "the stop");
  const again = hub.connected();
  (await stub.peer()).close(4501);
  await assert.rejects(again, (error) => error instanceof HubError && error.code === "unauthenticated");
  await assert.rejects(hub.connected(20), (error) => error instanceof HubError && error.code === "timeout");
});

test("events can be read in a loop, over a lost connection, until one leaves it", async () => {
  const { hub, peer } = await connected();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const event of hub.events("s", 2)) {
      seen.push("seq" in event ? String(event.seq) : event.type === "message.delta" ? event.data.text : event.type);
      if (seen.length === 5) break;
    }
  })();
  const first = await peer.expect("session.join");
  assert.equal(first["after_seq"], 2);
  peer.reply(first, join(3, 3));
  peer.say(event(3), delta(0, "a"), delta(0, "a"), delta(2, "hole"));
  await until(() => (seen.length === 2 ? true : undefined), "the first events");
  peer.cut();
  const again = await stub.peer();
  again.hello();
  const second = await again.expect("session.join");
  assert.equal(second["after_seq"], 3);
  again.reply(second, join(4, 4));
  again.say(event(3), event(4), delta(1, "b"), event(5));
  await reading;
  assert.deepEqual(seen, ["3", "a", "4", "b", "5"]);
  assert.equal((await again.expect("session.leave"))["session"], "s");
});

test("a loop that falls far behind reads on from the log, without a hole", async () => {
  const { hub, peer } = await connected();
  const loop = hub.events("s", 0);
  const seqs: number[] = [];
  const take = async () => seqs.push(((await loop.next()).value as DurableEvent).seq);
  const first = take();
  peer.reply(await peer.expect("session.join"), join(1, 0));
  const many = 10_000;
  for (let seq = 1; seq <= many; seq += 1) peer.say(event(seq));
  await peer.expect("session.leave"); // nobody reads: what waits is bounded
  await first;
  let last: Promise<unknown> = Promise.resolve();
  const rejoined = peer.expect("session.join");
  let command: Received | undefined;
  void rejoined.then((it) => void (command = it));
  while (command === undefined) {
    last = take();
    await Promise.race([last, rejoined]);
  }
  const position = Number(command["after_seq"]);
  assert.equal(seqs.length, position);
  assert.ok(position < many);
  peer.reply(command, join(position + 1, many));
  peer.say(event(position + 1));
  await last;
  assert.deepEqual(
    seqs,
    Array.from({ length: position + 1 }, (_, index) => index + 1),
  );
  await loop.return(undefined);
});

test("a loop over a session that cannot be followed throws", async () => {
  const { hub, peer } = await connected();
  const first = hub.events("s").next();
  peer.refuse(await peer.expect("session.join"), { code: "not_found", message: "There is no such session." });
  await assert.rejects(first, (error) => error instanceof HubError && error.code === "not_found");
});

test("a replay in the same frame as the reply is not missed", async () => {
  const { hub, peer } = await connected();
  const seen = listener();
  hub.follow("s", 4, seen);
  const command = await peer.expect("session.join");
  assert.equal(command["after_seq"], 4);
  peer.say({ type: "reply", id: command.id, ok: true, result: join(5, 6) }, event(5), event(6), delta(0, "hi"));
  await until(() => (seen.texts.length ? true : undefined), "the delta");
  assert.deepEqual(seen.seqs(), [5, 6]);
  assert.deepEqual(seen.texts, ["hi"]);
});

test("after a loss a session goes on where it was, each event once", async () => {
  const { hub, peer } = await connected();
  const seen = listener();
  const following = hub.follow("s", null, seen);
  peer.reply(await peer.expect("session.join"), join(8, 9));
  peer.say(event(8), event(9), event(10), delta(0, "a"));
  await until(() => (seen.texts.length ? true : undefined), "the delta");
  peer.cut();
  const again = await stub.peer();
  again.hello();
  const command = await again.expect("session.join");
  assert.equal(command["after_seq"], 10);
  again.reply(command, join(11, 11));
  again.say(event(10), event(11, "message.completed", { message: "m" }), delta(1, "b"));
  await until(() => (seen.events.length === 4 ? true : undefined), "the rest");
  assert.deepEqual(seen.seqs(), [8, 9, 10, 11]);
  assert.deepEqual(following.openMessages, []);
});

test("a gap is never handed on: the session is joined again", async () => {
  const { hub, peer } = await connected();
  const seen = listener();
  hub.follow("s", 0, seen);
  peer.reply(await peer.expect("session.join"), join(1, 1));
  peer.say(event(1), event(3));
  await peer.expect("session.leave");
  const command = await peer.expect("session.join");
  assert.equal(command["after_seq"], 1);
  peer.reply(command, join(2, 3));
  peer.say(event(2), event(3));
  await until(() => (seen.events.length === 3 ? true : undefined), "the rest");
  assert.deepEqual(seen.seqs(), [1, 2, 3]);
});

test("a log that was restored is read anew", async () => {
  const { hub, peer } = await connected();
  let resets = 0;
  hub.follow("s", 50, { ...listener(), reset: () => void (resets += 1) });
  peer.refuse(await peer.expect("session.join"), { code: "bad_request", details: { last_seq: 7 } });
  const again = await peer.expect("session.join");
  assert.equal(again["after_seq"], undefined);
  assert.equal(resets, 1);
});

test("a join that is refused for now is tried again, one refused for good is not", async () => {
  const { hub, peer } = await connected();
  const seen = listener();
  hub.follow("s", 0, seen);
  peer.refuse(await peer.expect("session.join"), { code: "unavailable", retryable: true });
  peer.refuse(await peer.expect("session.join"), { code: "not_found" });
  const error = await until(() => seen.errors[0], "the failure");
  assert.equal(error.code, "not_found");
});

test("a message survives a lost connection, other commands fail", async () => {
  const { hub, peer } = await connected();
  const sending = hub.send("s", "hello", { clientId: "k" });
  const cancelling = assert.rejects(hub.cancel("s"), (e) => e instanceof HubError && e.code === "connection_lost");
  await peer.expect("message.send");
  peer.cut();
  await cancelling;
  const again = await stub.peer();
  again.hello();
  const command = await again.expect("message.send");
  assert.equal(command["client_id"], "k");
  again.reply(command, { seq: 3, message: "m", run: null });
  assert.deepEqual(await sending, { seq: 3, message: "m", run: null });
});

test("without an answer a command fails in time", async () => {
  const { hub } = await connected();
  const sending = hub.send("s", "hello", { timeoutMs: 20 });
  await assert.rejects(sending, (error) => error instanceof HubError && error.code === "timeout");
});

test("a code that says stop stops", async () => {
  const { hub, peer } = await connected();
  peer.close(4503);
  const state = await until(() => (hub.state.kind === "stopped" ? hub.state : undefined), "the stop");
  assert.equal(state.code, 4503);
  assert.equal(stub.connections, 1);
});

test("an ended credential is asked for anew", async () => {
  const asked: boolean[] = [];
  const credential = async (expired: boolean): Promise<Credential> => {
    asked.push(expired);
    return { ticket: "t" };
  };
  const { peer } = await connected({ credential });
  peer.close(4100);
  await stub.peer();
  assert.deepEqual(asked, [false, true]);
});

test("a credential that is denied stops, one that cannot be had is tried again", async () => {
  let tries = 0;
  const hub = await client({
    credential: async () => {
      tries += 1;
      throw tries === 1 ? new HubError("unavailable", "later") : new HubError("unauthenticated", "no");
    },
  });
  const state = await until(() => (hub.state.kind === "stopped" ? hub.state : undefined), "the stop");
  assert.equal(state.code, 4501);
  assert.equal(tries, 2);
});

test("an expiring credential is renewed on the open connection", async () => {
  const { peer } = await connected({ renew: async () => "fresh" });
  peer.say({ type: "auth.expiring", ts: "2026-01-01T00:00:00Z", data: { expires_at: "soon" } });
  assert.equal((await peer.expect("auth"))["token"], "fresh");
});

test("silence is answered with a ping", async () => {
  const hub = await client();
  const peer = await stub.peer();
  peer.hello(0.03);
  await peer.expect("ping");
  assert.equal(hub.state.kind, "open");
});

test("what is not known is ignored", async () => {
  const { hub, peer } = await connected();
  const seen = listener();
  hub.follow("s", 0, seen);
  peer.reply(await peer.expect("session.join"), join(1, 0));
  peer.say({ type: "weather.changed", session: "s", data: {} }, event(1, "moon.rose", {}), { type: "later" });
  await until(() => (seen.events.length ? true : undefined), "the event");
  assert.deepEqual(seen.seqs(), [1]);
});

test("closing fails what is open and does not come back", async () => {
  const { hub, peer } = await connected();
  const waiting = assert.rejects(hub.ping(), (e) => e instanceof HubError && e.code === "connection_lost");
  await peer.expect("ping");
  hub.close();
  await waiting;
  assert.equal(hub.state.kind, "idle");
});

test("an address that is none is told at once, and not tried again", async () => {
  const hub = await client({ url: "127.0.0.1:8000" });
  await assert.rejects(hub.connected(60_000), (error: HubError) => {
    assert.equal(error.code, "bad_request");
    assert.match(error.message, /^127\.0\.0\.1:8000 is not the address of a hub/);
    return true;
  });
});

test("a hub that goes away says when it wants one back", async () => {
  const { hub, peer } = await connected();
  const before = Date.now();
  peer.say({ type: "server.draining", ts: "2026-01-01T00:00:00Z", data: { reconnect_after_ms: 60_000 } });
  peer.close(4000);
  const moment = await until(() => (hub.state.kind === "waiting" ? hub.state.until : undefined), "waiting");
  assert.ok(moment >= before + 60_000);
  hub.reconnectNow();
  const again = await stub.peer();
  again.hello();
  await until(() => (hub.state.kind === "open" ? true : undefined), "hello");
  again.close(4000);
  const next = await until(() => (hub.state.kind === "waiting" ? hub.state.until : undefined), "waiting");
  assert.ok(next < Date.now() + 60_000, "another hub's moment is another");
});

test("who speaks something else is told at once, and not tried again", async () => {
  const hub = await client();
  const peer = await stub.peer();
  peer.mumble("HTTP/1.1 200 OK");
  await assert.rejects(hub.connected(60_000), /does not speak hub\.v1/);
});

test("a hub that does not answer is named", async () => {
  const hub = await client();
  await assert.rejects(hub.connected(50), (error: HubError) => {
    assert.equal(error.code, "timeout");
    assert.match(error.message, /^The hub at ws:\/\/127\.0\.0\.1:\d+\/v1\/ws did not/);
    return true;
  });
});
