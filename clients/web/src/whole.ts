const STORED = "agent-hub.loads";
const TRIES = 3;
const AGAIN_MS = 1_000;

/**
 * Whether the style sheet has come. Where it has not (a hub that had too much to do, or one of another version that was
 * asked for it) the page could not be read and would stay like that: it is loaded again, three times at most.
 */
export function isWhole(): boolean {
  if (getComputedStyle(document.documentElement).getPropertyValue("--paper") !== "") {
    sessionStorage.removeItem(STORED);
    return true;
  }
  const tries = Number(sessionStorage.getItem(STORED) ?? 0);
  if (tries >= TRIES) return true;
  sessionStorage.setItem(STORED, String(tries + 1));
  setTimeout(() => location.reload(), AGAIN_MS * 2 ** tries);
  return false;
}
