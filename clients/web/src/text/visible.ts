// Invisible, or turning the direction of what follows. JSON has other control characters as escapes already.
const HIDDEN = /[\p{Cf}\p{Co}\p{Zl}\p{Zp}\u007f-\u009f]/gu;

/** A value as JSON in which everything can be seen: what somebody approves looks like what it is. */
export function visibleJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(HIDDEN, (hidden) =>
    Array.from({ length: hidden.length }, (_, at) => `\\u${hidden.charCodeAt(at).toString(16).padStart(4, "0")}`).join(
      "",
    ),
  );
}
