import { computed, signal } from "@preact/signals";
import type { Rest } from "agent-hub-client";
import type { Account } from "./account.ts";
import { describe } from "./words.ts";

/** A file that is to go with the next message. */
export interface Attaching {
  key: number;
  name: string;
  size: number;
  state: { kind: "uploading" } | { kind: "ready"; id: string } | { kind: "failed"; why: string };
}

/** What was chosen, dropped or pasted and is not sent yet. */
export class AttachingFiles {
  readonly files = signal<readonly Attaching[]>([]);
  /** Nothing is under way, and nothing has failed. */
  readonly settled = computed(() => this.files.value.every(({ state }) => state.kind === "ready"));
  readonly #session: string;
  readonly #rest: Rest;
  readonly #account: Account;
  #last = 0;

  constructor(session: string, rest: Rest, account: Account) {
    this.#session = session;
    this.#rest = rest;
    this.#account = account;
  }

  /** Uploads them, side by side. */
  add(files: Iterable<File>): void {
    for (const file of files) {
      const key = (this.#last += 1);
      const name = file.name || "attachment";
      this.files.value = [...this.files.value, { key, name, size: file.size, state: { kind: "uploading" } }];
      void this.#upload(key, file, name);
    }
  }

  /** Takes one away, also from the hub; one that is under way goes from there when it has arrived. */
  remove(key: number): void {
    const removed = this.files.value.find((file) => file.key === key);
    this.files.value = this.files.value.filter((file) => file.key !== key);
    if (removed?.state.kind === "ready") this.#discard(removed.state.id);
  }

  /** Those that are ready, which are no more to be sent with the next message. */
  take(): { id: string; name: string }[] {
    const ready = this.files.value.flatMap(({ state, name }) =>
      state.kind === "ready" ? [{ id: state.id, name }] : [],
    );
    this.files.value = this.files.value.filter(({ state }) => state.kind !== "ready");
    return ready;
  }

  #discard(id: string): void {
    const gone = this.#account.call((token) => this.#rest.discard(token, this.#session, id));
    gone.catch(() => undefined); // the hub removes within a day what nobody has sent
  }

  async #upload(key: number, file: File, name: string): Promise<void> {
    let state: Attaching["state"];
    try {
      const made = await this.#account.call((token) => this.#rest.upload(token, this.#session, file, name));
      if (!this.files.value.some((one) => one.key === key)) this.#discard(made.id);
      state = { kind: "ready", id: made.id };
    } catch (error) {
      state = { kind: "failed", why: describe(error) };
    }
    this.files.value = this.files.value.map((one) => (one.key === key ? { ...one, state } : one));
  }
}
