import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import { describe } from "../store/words.ts";
import type { RequestItem } from "../store/items.ts";
import { moment, said, span } from "../text/time.ts";
import { visibleJson } from "../text/visible.ts";
import { lane } from "./avatar.tsx";
import { useApp } from "./context.ts";
import { Ask, Check, Close } from "./icons.tsx";

const TITLES = { approval: "Approval needed", question: "A question for you", retry: "Something went wrong" };
const YES = { approval: "Approve", retry: "Try again" };
const NO = { approval: "Reject", retry: "Give up" };
const MAX_ANSWER = 32_000;

/** The team asks the people here: what, by when, and how it was answered. */
export function Request({ item, conversation }: { item: RequestItem; conversation: Conversation }) {
  const { request } = item;
  const state = item.state.value;
  const name = conversation.displayName(request.agent);
  return (
    <section
      class={`request ${request.kind} ${state === "open" ? "open" : "closed"} ${lane(request.agent, conversation.team.value?.agents ?? [])}`}
      aria-label={`${TITLES[request.kind]}, asked by ${name}`}
      data-request={request.request}
    >
      <header>
        <Ask />
        <h2>{TITLES[request.kind]}</h2>
        <span class="who">{name}</span>
        {state === "open" && <Deadline at={request.expires_at} />}
      </header>
      {request.kind === "approval" && request.tool ? (
        <p class="prompt">
          {name} wants to use <code>{request.tool}</code>
        </p>
      ) : (
        <p class="prompt">{request.prompt}</p>
      )}
      {request.tool && request.kind !== "question" && (
        <pre tabIndex={0} aria-label="Arguments">
          {visibleJson(request.arguments ?? {})}
        </pre>
      )}
      {state === "open" && (request.approvers ?? 1) > 1 && (
        <p class="hint">
          {request.approvers} people have to approve
          {item.yeses.value.length > 0 ? `; ${item.yeses.value.join(", ")} did` : ""}.
        </p>
      )}
      {state === "open" ? (
        <Answering item={item} conversation={conversation} />
      ) : (
        <Answered kind={request.kind} state={state} />
      )}
    </section>
  );
}

function Answering({ item, conversation }: { item: RequestItem; conversation: Conversation }) {
  const app = useApp();
  const error = useSignal<string | null>(null);
  const busy = useSignal(false);
  const text = useSignal("");
  const { kind, request } = item.request;
  const off = useComputed(() => busy.value || app.connection.value.kind !== "open");
  if (!conversation.mayAnswer.value) {
    return <p class="hint">Your role is {conversation.role.value}: somebody else has to answer this.</p>;
  }
  const respond = async (decision: "approve" | "reject" | null) => {
    busy.value = true;
    error.value = null;
    try {
      await conversation.respond(request, decision, text.value.trim() === "" ? null : text.value.trim());
    } catch (cause) {
      error.value = describe(cause);
    } finally {
      busy.value = false;
    }
  };
  return (
    <form
      class="answering"
      onSubmit={(event) => {
        event.preventDefault();
        if (kind === "question" && text.value.trim() !== "") void respond(null);
      }}
    >
      <input
        aria-label={kind === "question" ? "Your answer" : "A note to the team, if you like"}
        placeholder={kind === "question" ? "Your answer" : "Add a note (optional)"}
        value={text}
        maxLength={MAX_ANSWER}
        autocomplete="off"
        onInput={(event) => (text.value = event.currentTarget.value)}
      />
      <div class="choices">
        {kind === "question" ? (
          <>
            <button type="submit" class="primary" disabled={off.value || text.value.trim() === ""}>
              Answer
            </button>
            <button type="button" disabled={off.value} onClick={() => void respond("reject")}>
              Decline
            </button>
          </>
        ) : (
          <>
            <button type="button" class="primary" disabled={off.value} onClick={() => void respond("approve")}>
              {YES[kind]}
            </button>
            <button type="button" disabled={off.value} onClick={() => void respond("reject")}>
              {NO[kind]}
            </button>
          </>
        )}
      </div>
      {error.value !== null && (
        <p class="form-error" role="alert">
          {error.value}
        </p>
      )}
    </form>
  );
}

const OUTCOMES = {
  approval: { approve: "Approved", reject: "Rejected", expired: "Nobody answered in time: not approved" },
  retry: { approve: "Tried again", reject: "Given up", expired: "Nobody answered in time" },
  question: { approve: "Answered", reject: "Declined", expired: "Nobody answered in time" },
};

interface AnsweredProps {
  kind: RequestItem["request"]["kind"];
  state: Exclude<RequestItem["state"]["value"], "open">;
}

function Answered({ kind, state }: AnsweredProps) {
  if (state === "abandoned") return <p class="resolved">The run ended before anybody answered.</p>;
  const expired = state.by.id === "hub";
  const good = state.decision === "approve" || state.decision === null;
  return (
    <div class={`resolved ${good ? "good" : "bad"}`}>
      <p>
        {good ? <Check /> : <Close />}
        <span>
          {expired ? OUTCOMES[kind].expired : `${OUTCOMES[kind][state.decision ?? "approve"]} by ${state.by.name}`}
        </span>
        <time dateTime={state.at} title={moment(state.at)}>
          {said(state.at)}
        </time>
      </p>
      {state.text && !expired && <blockquote>{state.text}</blockquote>}
    </div>
  );
}

/** How long there is left to answer. Not a live region: it would speak every second. */
function Deadline({ at }: { at: string }) {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const left = new Date(at).getTime() - now.value;
  if (Number.isNaN(left)) return null;
  return (
    <time class={`deadline ${left < 60_000 ? "soon" : ""}`} dateTime={at} title={`until ${moment(at)}`}>
      {left <= 0 ? "time is up" : `${span(left)} left`}
    </time>
  );
}
