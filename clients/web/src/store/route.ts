import { signal } from "@preact/signals";

export type Route = { kind: "new" } | { kind: "session"; id: string };

/** Where the page is, kept in the address so that a reload and the back button work. */
export class Router {
  readonly route = signal<Route>(read());

  constructor() {
    addEventListener("hashchange", () => {
      this.route.value = read();
    });
  }

  go(route: Route): void {
    location.hash = route.kind === "new" ? "" : href(route.id).slice(1);
  }
}

export function href(session: string): string {
  return `#/s/${encodeURIComponent(session)}`;
}

function read(): Route {
  const id = /^#\/s\/([^/]+)$/.exec(location.hash)?.[1];
  return id === undefined ? { kind: "new" } : { kind: "session", id: decodeURIComponent(id) };
}
