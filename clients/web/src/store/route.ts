import { signal } from "@preact/signals";

/** `seq`: an event of the session that shall be shown. `invite`: a link that somebody was sent. */
export type Route = { kind: "new" } | { kind: "session"; id: string; seq?: number } | { kind: "invite"; token: string };

/** Where the page is, kept in the address so that a reload and the back button work. */
export class Router {
  readonly route = signal<Route>(read());

  constructor() {
    addEventListener("hashchange", () => {
      this.route.value = read();
    });
  }

  go(route: Exclude<Route, { kind: "invite" }>): void {
    location.hash = route.kind === "new" ? "" : href(route.id, route.seq).slice(1);
  }

  /** The same in place of where the page is now: the back button does not lead there. */
  replace(route: Exclude<Route, { kind: "invite" }>): void {
    history.replaceState(null, "", route.kind === "new" ? "#" : href(route.id, route.seq));
    this.route.value = route;
  }
}

export function href(session: string, seq?: number): string {
  return `#/s/${session}${seq === undefined ? "" : `/${seq}`}`;
}

/** The address that lets somebody in. The fragment is sent to no server. */
export function inviteLink(token: string): string {
  return `${location.origin}/#invite=${token}`;
}

function read(): Route {
  const [, token] = /^#invite=([\w-]+)$/.exec(location.hash) ?? [];
  if (token !== undefined) return { kind: "invite", token };
  const [, id, seq] = /^#\/s\/([\w-]+)(?:\/(\d+))?$/.exec(location.hash) ?? [];
  if (id === undefined) return { kind: "new" };
  return { kind: "session", id, ...(seq === undefined ? {} : { seq: Number(seq) }) };
}
