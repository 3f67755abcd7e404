import assert from "node:assert/strict";
import { test } from "node:test";
import { afterClose, jitter } from "../src/backoff.ts";

const most = () => 0.999999;

test("codes that say stop", () => {
  for (const code of [1000, 1008, 1009, 4500, 4501, 4503, 4510, 4999]) {
    assert.deepEqual(afterClose(code, 0), { kind: "stop" }, String(code));
  }
});

test("codes that say come back at once, and a connection that broke", () => {
  for (const code of [1001, 1005, 1006, 1011, 1012, 4000, 4001, 4099]) {
    const next = afterClose(code, 0, most);
    assert.ok(next.kind === "reconnect" && next.delayMs < 500 && !next.newCredential, String(code));
  }
});

test("an ended credential is replaced first", () => {
  const next = afterClose(4100, 0, most);
  assert.ok(next.kind === "reconnect" && next.newCredential);
});

test("codes that say back off", () => {
  for (const code of [4101, 4102, 4103, 4499]) {
    const next = afterClose(code, 0, () => 0);
    assert.ok(next.kind === "reconnect" && next.delayMs >= 3_000, String(code));
  }
});

test("jitter is full, grows and has a cap", () => {
  assert.equal(
    jitter(3, () => 0),
    0,
  );
  assert.ok(jitter(1, most) > jitter(0, most));
  assert.ok(jitter(1000, most) <= 20_000);
});
