/** What to do after a connection ended. */
export type Next = { kind: "stop" } | { kind: "reconnect"; delayMs: number; newCredential: boolean };

const BASE_MS = 500;
const CAP_MS = 20_000;
const GOING_AWAY = new Set([1012, 4000]);
const PATIENT_MS = 3_000; // the least wait where the hub asked for less of us

/** Full jitter: anything between nothing and an exponentially growing bound, so that clients do not return as one. */
export function jitter(attempt: number, random: () => number = Math.random): number {
  return random() * Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt, 16));
}

/**
 * Reads a close code: its range is the instruction. `attempt` counts the failures since the connection was last
 * stable (0: the first). `momentMs` is when a hub that goes away wants this client back: each has a moment of its own.
 */
export function afterClose(
  code: number,
  attempt: number,
  random: () => number = Math.random,
  momentMs: number = 0,
): Next {
  if (code === 1000 || code === 1008 || code === 1009 || (code >= 4500 && code < 5000)) return { kind: "stop" };
  if (code === 4100) return { kind: "reconnect", delayMs: jitter(attempt, random), newCredential: true };
  if (code > 4100 && code < 4500) {
    return { kind: "reconnect", delayMs: PATIENT_MS + jitter(attempt + 2, random), newCredential: false };
  }
  const leastMs = GOING_AWAY.has(code) ? momentMs : 0;
  return { kind: "reconnect", delayMs: Math.max(leastMs, jitter(attempt, random)), newCredential: false };
}
