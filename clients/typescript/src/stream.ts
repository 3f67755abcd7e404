import type { HubError } from "./errors.ts";
import type { Following, SessionListener } from "./following.ts";
import type { AnyEvent } from "./protocol.ts";

const WAITING = 4_096; // events for a loop that is slow; what comes after is fetched from the log when it has caught up

/** As much of a client as a stream of events needs. */
export interface Follower {
  follow(session: string, afterSeq: number | null, listener: SessionListener): Following;
  leave(following: Following): void;
}

/** The events of a session, as `Hub.events` promises them. */
export async function* eventsOf(
  hub: Follower,
  session: string,
  afterSeq: number | null,
): AsyncGenerator<AnyEvent, void, undefined> {
  let waiting: AnyEvent[] = [];
  let position = afterSeq;
  let failure: HubError | null = null;
  let following: Following | null = null;
  let wake: () => void = () => undefined;

  const take = (event: AnyEvent): void => {
    if (following === null) return; // fell behind: what comes now is read from the log later
    if (waiting.length >= WAITING) {
      hub.leave(following);
      following = null;
      return;
    }
    if ("seq" in event) position = event.seq;
    waiting.push(event);
    wake();
  };
  const follow = (): Following =>
    hub.follow(session, position, {
      event: take,
      live: take,
      failed: (error) => {
        failure = error;
        wake();
      },
    });

  following = follow();
  try {
    for (;;) {
      const batch = waiting;
      waiting = [];
      yield* batch;
      if (waiting.length > 0) continue;
      if (failure !== null) throw failure as HubError;
      following ??= follow();
      const more = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if (waiting.length === 0 && failure === null) await more;
    }
  } finally {
    if (following !== null) hub.leave(following);
  }
}
