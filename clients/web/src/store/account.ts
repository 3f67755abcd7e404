import { signal } from "@preact/signals";
import { HubError, type Account as User, type Rest, type SignInMethods, type Tokens } from "agent-hub-client";

import { sentence, type Arrival } from "./arrival.ts";
import { describe } from "./words.ts";

const STORED = "agent-hub.account";
const LOCK = "agent-hub.refresh";
const EARLY_MS = 30_000; // a token is renewed this long before its end

interface Stored {
  user: User;
  refresh_token: string;
}

export type AccountState = { kind: "signed-out"; notice: string | null } | { kind: "signed-in"; user: User };

/**
 * Who is signed in. The access token stays in memory; the refresh token, which rotates with every use, lives in
 * localStorage for all tabs: a tab takes it, uses it and puts its successor back while it holds a lock.
 */
export class Account {
  readonly state = signal<AccountState>({ kind: "signed-out", notice: null });
  readonly #rest: Rest;
  #access: { token: string; until: number } | null = null;
  #refreshing: Promise<string> | null = null;

  constructor(rest: Rest) {
    this.#rest = rest;
    const stored = load();
    if (stored) this.state.value = { kind: "signed-in", user: stored.user };
    addEventListener("storage", (event) => {
      if (event.key === STORED && event.newValue === null) this.#signedOut(null);
    });
  }

  async signIn(name: string, password: string): Promise<void> {
    await this.#begin(await this.#rest.signIn(name, password));
  }

  /**
   * Goes on where the OpenID provider has sent the browser back. Whoever is signed in already stays who they are: a
   * page elsewhere may send a browser to the provider, too.
   */
  async arrive(arrival: Arrival): Promise<void> {
    if (this.state.value.kind === "signed-in") return;
    if (arrival.kind === "failed") return this.#signedOut(sentence(arrival.reason));
    try {
      await this.#begin(await this.#rest.redeem(arrival.code));
    } catch (error) {
      this.#signedOut(describe(error));
    }
  }

  /** The id of whoever is signed in; null: nobody. */
  get user(): string | null {
    const state = this.state.value;
    return state.kind === "signed-in" ? state.user.id : null;
  }

  /** How one can sign in here, and whether one can register. */
  methods(): Promise<SignInMethods> {
    return this.#rest.methods();
  }

  async #begin(tokens: Tokens): Promise<void> {
    const { id, name: known } = await this.#rest.me(tokens.access_token);
    const user = { id, name: known };
    this.#keep(tokens, user);
    this.state.value = { kind: "signed-in", user };
  }

  async register(name: string, password: string): Promise<void> {
    await this.#rest.register(name, password);
    await this.signIn(name, password);
  }

  /** Ends the sign-in here and in the other tabs, and tells the hub to forget it. */
  async signOut(notice: string | null = null): Promise<void> {
    const stored = load();
    this.#signedOut(notice);
    if (stored) await this.#rest.revoke(stored.refresh_token).catch(() => undefined);
  }

  /** Calls the hub with an access token, and once more with a fresh one when the hub does not take the first. */
  async call<T>(request: (token: string) => Promise<T>): Promise<T> {
    try {
      return await request(await this.token());
    } catch (error) {
      if (!(error instanceof HubError) || error.code !== "unauthenticated") throw error;
      return request(await this.renew());
    }
  }

  /** An access token that is good for a while. */
  async token(): Promise<string> {
    if (this.#access && this.#access.until - EARLY_MS > Date.now()) return this.#access.token;
    return this.renew();
  }

  /** A new access token. Signs out when the hub no longer takes the refresh token. */
  renew(): Promise<string> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  #refresh(): Promise<string> {
    const refresh = async (): Promise<string> => {
      const stored = load();
      if (!stored) throw new HubError("unauthenticated", "You are signed out.");
      try {
        const tokens = await this.#rest.refresh(stored.refresh_token);
        this.#keep(tokens, stored.user);
        return tokens.access_token;
      } catch (error) {
        const ended = error instanceof HubError && !error.retryable && error.code !== "unavailable";
        if (ended) this.#signedOut("Your sign-in has ended. Please sign in again.");
        throw error;
      }
    };
    // Web Locks exist in secure contexts only; without them the hub's own grace for a lost answer has to do.
    return navigator.locks ? navigator.locks.request(LOCK, refresh) : refresh();
  }

  #keep(tokens: Tokens, user: User): void {
    this.#access = { token: tokens.access_token, until: Date.now() + tokens.expires_in * 1000 };
    localStorage.setItem(STORED, JSON.stringify({ user, refresh_token: tokens.refresh_token } satisfies Stored));
  }

  #signedOut(notice: string | null): void {
    this.#access = null;
    localStorage.removeItem(STORED);
    this.state.value = { kind: "signed-out", notice };
  }
}

function load(): Stored | null {
  const text = localStorage.getItem(STORED);
  return text === null ? null : (JSON.parse(text) as Stored);
}
