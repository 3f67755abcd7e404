import assert from "node:assert/strict";
import { test } from "node:test";
import { OpenMessages } from "../src/assembly.ts";
import type { MessageDelta, MessageSnapshot, ReasoningDelta } from "../src/protocol.ts";

const author = { kind: "agent", name: "alpha", display_name: "Alpha" } as const;

function piece<T extends "message.delta" | "message.snapshot" | "reasoning.delta">(
  type: T,
  index: number,
  text: string,
  more: { n?: number; message?: string; run?: string } = {},
) {
  const { n, message = "m", run = "r" } = more;
  const data = { message, turn: 0, author, index, text, ...(n === undefined ? {} : { n }) };
  return { type, session: "s", run, data } as unknown as MessageDelta & MessageSnapshot & ReasoningDelta;
}

test("pieces in order make the text", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a "));
  open.delta(piece("message.delta", 1, "b "));
  assert.equal(open.all()[0]?.text, "a b ");
});

test("a merged piece counts as many", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a b c ", { n: 3 }));
  open.delta(piece("message.delta", 3, "d "));
  assert.equal(open.all()[0]?.text, "a b c d ");
});

test("what is known already is dropped", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a b ", { n: 2 }));
  assert.equal(open.delta(piece("message.delta", 1, "b ")), null);
  assert.equal(open.delta(piece("message.delta", 0, "a b ", { n: 2 })), null);
  assert.equal(open.all()[0]?.text, "a b ");
});

test("a hole waits for a snapshot", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a "));
  assert.equal(open.delta(piece("message.delta", 2, "c ")), null);
  assert.equal(open.all()[0]?.waiting, true);
  assert.equal(open.all()[0]?.text, "a ");
  open.snapshot(piece("message.snapshot", 3, "a b c "));
  assert.equal(open.all()[0]?.waiting, false);
  open.delta(piece("message.delta", 3, "d "));
  assert.equal(open.all()[0]?.text, "a b c d ");
});

test("a snapshot is believed even when it is shorter", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a b c ", { n: 3 }));
  open.snapshot(piece("message.snapshot", 1, "a "));
  open.delta(piece("message.delta", 1, "b "));
  assert.equal(open.all()[0]?.text, "a b ");
});

test("a piece that comes after the end does not open the message again", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a "));
  open.close("m");
  assert.equal(open.delta(piece("message.delta", 1, "b ")), null);
  assert.equal(open.snapshot(piece("message.snapshot", 2, "a b ")), null);
  assert.deepEqual(open.all(), []);
});

test("the end of a run ends its messages only", () => {
  const open = new OpenMessages();
  open.delta(piece("message.delta", 0, "a ", { message: "m1", run: "r1" }));
  open.delta(piece("message.delta", 0, "b ", { message: "m2", run: "r2" }));
  open.closeRun("r1");
  assert.deepEqual(
    open.all().map(({ id }) => id),
    ["m2"],
  );
});

test("reasoning goes its own way and shows its holes", () => {
  const open = new OpenMessages();
  open.reasoning(piece("reasoning.delta", 0, "I think "));
  open.reasoning(piece("reasoning.delta", 0, "I think "));
  open.reasoning(piece("reasoning.delta", 3, "so."));
  assert.equal(open.all()[0]?.reasoning, "I think … so.");
  assert.equal(open.all()[0]?.text, "");
});
