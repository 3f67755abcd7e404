import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { HubError } from "../src/errors.ts";
import { Rest, type ExportLine } from "../src/rest.ts";

/** What a method gives when a hub answers like this, and what the hub was asked. */
async function asked<T>(
  answer: (response: ServerResponse) => void,
  ask: (rest: Rest) => Promise<T>,
): Promise<{ given: T; request: string; body: string }> {
  let request = "";
  let body = "";
  const server = createServer(async (incoming: IncomingMessage, response) => {
    request = `${incoming.method} ${incoming.url} ${incoming.headers.authorization}`;
    for await (const piece of incoming) body += String(piece);
    answer(response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const given = await ask(new Rest(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
    return { given, request, body };
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

async function all(lines: AsyncGenerator<ExportLine>, into: ExportLine[] = []): Promise<ExportLine[]> {
  for await (const line of lines) into.push(line);
  return into;
}

const LINES = [{ kind: "export" }, { kind: "event", text: "Größe 🙂" }, { kind: "run" }, { kind: "end", lines: 2 }];
const bytes = (lines: object[]) => Buffer.from(lines.map((line) => JSON.stringify(line) + "\n").join(""));

test("an export comes line by line, wherever it is cut into pieces", async () => {
  const { given, request } = await asked(
    (response) => {
      for (const byte of bytes(LINES)) response.write(Buffer.of(byte));
      response.end();
    },
    (rest) => all(rest.exportSession("t", "a/b")),
  );
  assert.deepEqual(given, LINES);
  assert.equal(request, "GET /v1/sessions/a%2Fb/export Bearer t");
});

test("an export that was cut off is none", async () => {
  const cut: ((response: ServerResponse) => void)[] = [
    (response) => response.end(bytes(LINES.slice(0, 3))),
    (response) => response.end(bytes([...LINES.slice(0, 2), LINES[3]!])),
    (response) => response.end(bytes(LINES).subarray(0, -10)),
    (response) => response.write(bytes(LINES.slice(0, 2)), () => response.destroy()),
  ];
  for (const answer of cut) {
    const seen: ExportLine[] = [];
    const failed = asked(answer, (rest) => all(rest.exportMe("t"), seen));
    await assert.rejects(failed, (error) => error instanceof HubError && error.code === "unavailable");
    assert.equal(seen[0]?.kind, "export");
  }
});

test("who is erased gives the password", async () => {
  const { given, request, body } = await asked(
    (response) => response.writeHead(202).end('{"user": "u"}'),
    (rest) => rest.eraseMe("t", "secret"),
  );
  assert.deepEqual([given, request, body], ["u", "DELETE /v1/me Bearer t", '{"password":"secret"}']);
});
