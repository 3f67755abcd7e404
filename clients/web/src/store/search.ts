import { signal } from "@preact/signals";
import type { Rest, SearchHit } from "agent-hub-client";
import type { Account } from "./account.ts";
import { describe } from "./words.ts";

const PAUSE_MS = 250; // typing faster than this does not ask the hub
const LEAST = 2; // characters

export type Found =
  | { kind: "nothing" }
  | { kind: "searching" }
  | { kind: "hits"; query: string; hits: readonly SearchHit[] }
  | { kind: "failed"; message: string };

/** Looks for words in all transcripts of whoever is signed in. The last question wins. */
export class Search {
  readonly found = signal<Found>({ kind: "nothing" });
  readonly #account: Account;
  readonly #rest: Rest;
  #asked = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(account: Account, rest: Rest) {
    this.#account = account;
    this.#rest = rest;
  }

  ask(text: string): void {
    const query = text.trim();
    const number = ++this.#asked;
    clearTimeout(this.#timer);
    if (query.length < LEAST) {
      this.found.value = { kind: "nothing" };
      return;
    }
    if (this.found.value.kind !== "hits") this.found.value = { kind: "searching" };
    this.#timer = setTimeout(() => void this.#fetch(query, number), PAUSE_MS);
  }

  async #fetch(query: string, number: number): Promise<void> {
    let found: Found;
    try {
      const page = await this.#account.call((token) => this.#rest.search(token, query));
      found = { kind: "hits", query, hits: page.items };
    } catch (error) {
      found = { kind: "failed", message: describe(error) };
    }
    if (number === this.#asked) this.found.value = found;
  }
}
