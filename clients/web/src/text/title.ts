const MAX_CHARACTERS = 80;
const BEGINNING = /^(?:#+|[-*>]|\d+[.)])\s+/; // of a heading, a list, a quotation
const EMPHASIS = /(?<![\w*`])(\*{1,3}|`{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*`])/g; // not the signs of 6*7*8

/** What a session is called: its title, or what was said first in it. */
export function nameOf(session: { title: string; preview?: string | null } | undefined): string {
  return session?.title || titleOf(session?.preview ?? "") || "Untitled";
}

/** A name for a session: the first line of what was said first, without its Markdown. */
export function titleOf(text: string): string {
  const line = (text.trim().split("\n", 1)[0] ?? "").replace(BEGINNING, "").replace(EMPHASIS, "$2").trim();
  return line.length <= MAX_CHARACTERS ? line : `${line.slice(0, MAX_CHARACTERS - 1).trimEnd()}…`;
}
