import { HubError } from "agent-hub-client";
import { sentence } from "../text/sentence.ts";

/** An error in words for people. */
export function describe(error: unknown): string {
  return error instanceof HubError ? sentence(error.message) : "Something went wrong on this page.";
}

/** So many bytes, as people say it. */
export function bytes(size: number): string {
  if (size < 1_000) return `${size} B`;
  return size < 1_000_000 ? `${Math.round(size / 1_000)} kB` : `${(size / 1_000_000).toFixed(1)} MB`;
}
