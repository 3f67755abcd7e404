import type { SearchHit } from "agent-hub-client";
import { href } from "../store/route.ts";
import { when } from "../text/time.ts";
import { nameOf } from "../text/title.ts";
import { useWorkspace } from "./context.ts";

/** The messages in which the words were found. */
export function SearchHits({ onPick }: { onPick: () => void }) {
  const { search, sessions } = useWorkspace();
  const found = search.found.value;
  if (found.kind === "nothing") return null;
  return (
    <section class="hits" aria-label="Found in messages">
      <h2>In messages</h2>
      <div role="status">
        {found.kind === "searching" && <p class="nothing">Searching…</p>}
        {found.kind === "failed" && <p class="nothing">{found.message}</p>}
        {found.kind === "hits" && found.hits.length === 0 && <p class="nothing">No message says that.</p>}
        {found.kind === "hits" && found.hits.length > 0 && (
          <p class="unseen">{`${found.hits.length} ${found.hits.length === 1 ? "message" : "messages"}`}</p>
        )}
      </div>
      {found.kind === "hits" && (
        <ul>
          {found.hits.map((hit) => (
            <li key={`${hit.session}-${hit.seq}`}>
              <a href={href(hit.session, hit.seq)} onClick={onPick}>
                <span class="title">{hit.title || nameOf(sessions.get(hit.session))}</span>
                <time dateTime={hit.created_at}>{when(hit.created_at)}</time>
                <span class="snippet">
                  <b>{speaker(hit)}</b> <Marked text={hit.snippet} words={found.query} />
                </span>
              </a>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function speaker(hit: SearchHit): string {
  const name = hit.author["display_name"] ?? hit.author["name"];
  return typeof name === "string" ? name : "";
}

/** The text with the words that were looked for marked. */
function Marked({ text, words }: { text: string; words: string }) {
  const wanted = words.split(/[^\p{L}\p{N}]+/u).filter((word) => word !== "");
  if (wanted.length === 0) return <>{text}</>;
  const parts = text.split(new RegExp(`(${wanted.join("|")})`, "giu"));
  return <>{parts.map((part, index) => (index % 2 === 1 ? <mark key={index}>{part}</mark> : part))}</>;
}
