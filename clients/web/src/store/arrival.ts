const PLACE = "agent-hub.place";

/** How somebody comes back from the OpenID provider: with a code for tokens, or with a word why not. */
export type Arrival = { kind: "code"; code: string } | { kind: "failed"; reason: string };

/** Keeps where the page is, for when somebody comes back from the provider. */
export function depart(): void {
  sessionStorage.setItem(PLACE, location.hash);
}

/** Takes an arrival out of the address, and goes on where they were. Null when nobody has come back. */
export function arrive(): Arrival | null {
  const [, failed, value] = /^#sign-in(-failed)?=([\w-]+)$/.exec(location.hash) ?? [];
  if (value === undefined) return null;
  const place = sessionStorage.getItem(PLACE) ?? "";
  sessionStorage.removeItem(PLACE);
  history.replaceState(null, "", location.pathname + (place.startsWith("#") ? place : ""));
  return failed === undefined ? { kind: "code", code: value } : { kind: "failed", reason: value };
}

/** Whatever stands in the address: only sentences of our own are shown. */
export function sentence(reason: string): string {
  return SENTENCES[reason] ?? "Signing in did not work. Please try again.";
}

const SENTENCES: Record<string, string | undefined> = {
  cancelled: "You have not signed in: the other side was cancelled, or said no.",
  expired: "That sign-in took too long, or was begun in another browser. Please try again.",
  provider: "The answer of the sign-in service cannot be trusted. Please try again, or tell whoever runs this hub.",
  unavailable: "The sign-in service, or a part of this hub, does not answer. Please try again in a moment.",
  busy: "There were too many sign-ins. Please try again in a minute.",
  closed: "You have no account here, and this hub takes nobody new.",
  "not-allowed": "Your account there is not one that may use this hub.",
  suspended: "Your account here is suspended.",
  address: "This hub does not know its own address: whoever runs it has to set HUB_PUBLIC_URL.",
};
