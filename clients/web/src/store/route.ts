import { signal } from "@preact/signals";

/** `seq`: an event of the session that shall be shown. */
export type Route = { kind: "new" } | { kind: "session"; id: string; seq?: number };

/** Where the page is, kept in the address so that a reload and the back button work. */
export class Router {
  readonly route = signal<Route>(read());

  constructor() {
    addEventListener("hashchange", () => {
      this.route.value = read();
    });
  }

  go(route: Route): void {
    location.hash = route.kind === "new" ? "" : href(route.id, route.seq).slice(1);
  }
}

export function href(session: string, seq?: number): string {
  return `#/s/${encodeURIComponent(session)}${seq === undefined ? "" : `/${seq}`}`;
}

function read(): Route {
  const [, id, seq] = /^#\/s\/([^/]+)(?:\/(\d+))?$/.exec(location.hash) ?? [];
  if (id === undefined) return { kind: "new" };
  return { kind: "session", id: decodeURIComponent(id), ...(seq === undefined ? {} : { seq: Number(seq) }) };
}
