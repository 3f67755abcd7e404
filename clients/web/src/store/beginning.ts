import { signal } from "@preact/signals";
import { Drafts } from "./drafts.ts";

const STORED = "agent-hub.team";

/** What is being written for a session that is not there yet, and for which team: kept while one looks elsewhere. */
export class Beginning {
  readonly text = signal("");
  /** The team that was chosen last, in this browser; null: none was. */
  readonly team = signal<string | null>(null);
  readonly #drafts: Drafts;
  readonly #stored: string;

  constructor(user: string) {
    this.#drafts = new Drafts(user, "new");
    this.#stored = `${STORED}.${user}`;
    this.text.value = this.#drafts.text();
    this.team.value = localStorage.getItem(this.#stored);
  }

  write(text: string): void {
    this.text.value = text;
    this.#drafts.keepText(text);
  }

  choose(team: string): void {
    this.team.value = team;
    localStorage.setItem(this.#stored, team);
  }
}
