/** How many colours agents can have; `tokens.css` defines them. */
const LANES = 8;

/** The colour of an agent: by its place in the team, or by its name where it is not (any more) in the team. */
export function lane(agent: string, agents: readonly { name: string }[]): string {
  const place = agents.findIndex(({ name }) => name === agent);
  const number = place >= 0 ? place : [...agent].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0);
  return `lane-${number % LANES}`;
}

export function initials(name: string): string {
  const words = name.trim().split(/[\s_-]+/);
  const [first, second] = [words[0] ?? "", words[1] ?? ""];
  return ([...first][0] ?? "?").toUpperCase() + (second ? ([...second][0] ?? "") : ([...first][1] ?? "")).toLowerCase();
}

/** Agents are squares in their colour, people are circles. The letters are no text: neither read out nor copied. */
export function Avatar({ name, kind, class: extra = "" }: { name: string; kind: "agent" | "person"; class?: string }) {
  return <span class={`avatar ${kind} ${extra}`} data-initials={initials(name)} aria-hidden="true" />;
}

/** What speaks as an agent, where it is no model. */
export const SPEAKERS = { model: "", bot: "bot", human: "person", runnable: "program", team: "team" };
