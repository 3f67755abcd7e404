import type { ReplyError } from "./protocol.ts";

/**
 * What a command or request failed with. `code` is one of the protocol's codes, or one of the client's own:
 * `connection_lost` (the command may or may not have been carried out) and `timeout` (no answer in time).
 */
export class HubError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  /** Seconds to wait before trying again, where the hub said so. */
  readonly retryAfter: number | null;
  readonly details: Record<string, unknown>;

  constructor(
    code: string,
    message: string,
    options: { retryable?: boolean; retryAfter?: number | null; details?: Record<string, unknown> } = {},
  ) {
    super(message);
    this.name = "HubError";
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.retryAfter = options.retryAfter ?? null;
    this.details = options.details ?? {};
  }

  static fromReply(error: ReplyError | null | undefined): HubError {
    if (!error) return new HubError("internal", "The hub refused without saying why.");
    return new HubError(error.code, error.message, {
      retryable: error.retryable,
      retryAfter: error.retry_after ?? null,
      details: error.details,
    });
  }
}

export function connectionLost(): HubError {
  return new HubError("connection_lost", "The connection to the hub was lost.", { retryable: true });
}

export function timedOut(url?: string): HubError {
  const who = url === undefined ? "The hub" : `The hub at ${url}`;
  return new HubError("timeout", `${who} did not answer in time.`, { retryable: true });
}

/** The hub has closed the connection for good; the code says why (protocol, section 6). */
export function refused(closeCode: number, reason: string): HubError {
  const code = closeCode === 4501 ? "unauthenticated" : closeCode === 4503 ? "forbidden" : "bad_request";
  return new HubError(code, reason || `The hub has ended the connection (${closeCode}).`, {
    details: { close_code: closeCode },
  });
}
