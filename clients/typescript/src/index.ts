export { OpenMessages, type OpenMessage } from "./assembly.ts";
export { afterClose, jitter, type Next } from "./backoff.ts";
export type { ConnectionState, Credential } from "./connection.ts";
export { HubError } from "./errors.ts";
export type { Following, SessionListener } from "./following.ts";
export { Hub, newClientId, type HubOptions, type ResultOf } from "./hub.ts";
export type * from "./protocol.ts";
export { PROTOCOL } from "./protocol.ts";
export {
  Rest,
  type Account,
  type EventPage,
  type ExportLine,
  type Page,
  type SignInMethods,
  type Tokens,
} from "./rest.ts";
