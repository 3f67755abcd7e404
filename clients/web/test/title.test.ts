import assert from "node:assert/strict";
import { test } from "node:test";
import { nameOf, titleOf } from "../src/text/title.ts";

test("a session is called what was said first, in one plain line", () => {
  const titles: [string, string][] = [
    ["Why is the sky blue?", "Why is the sky blue?"],
    ["\n## What is **this**?\nAnd that?", "What is this?"],
    ["1. Look at `main.py`, *please*.", "Look at main.py, please."],
    ["What is 6*7*8?", "What is 6*7*8?"],
    ["***all*** of it", "all of it"],
    ["Is *p a pointer, or **p?", "Is *p a pointer, or **p?"],
    ["a".repeat(90), `${"a".repeat(79)}…`],
  ];
  for (const [said, title] of titles) assert.equal(titleOf(said), title);
});

test("a session without a title is called what was said first", () => {
  assert.equal(nameOf({ title: "A name", preview: "never" }), "A name");
  assert.equal(nameOf({ title: "", preview: "# Said **first**\nand then" }), "Said first");
  assert.equal(nameOf({ title: "", preview: null }), "Untitled");
  assert.equal(nameOf(undefined), "Untitled");
});
