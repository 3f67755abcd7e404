import { useComputed, useSignal } from "@preact/signals";
import type { TeamResult } from "agent-hub-client";
import type { ComponentChildren } from "preact";
import { Avatar, lane, SPEAKERS } from "./avatar.tsx";
import { MAX_TEXT, TextBox, TooLong } from "./composer.tsx";
import { useApp, useWorkspace } from "./context.ts";
import { Send } from "./icons.tsx";

const FAVOURITE = "duo"; // the hub's default team

/** To begin with, for whoever has no session yet. */
const IDEAS = ["Why is the sky blue?", "Plan a weekend in Lisbon.", "A week of four days: yes or no?"];

/** The default team first, those that follow a script last. */
function inOrder(teams: readonly TeamResult[]): TeamResult[] {
  const rank = ({ name, model }: TeamResult) => (name === FAVOURITE ? 0 : model === "scripted" ? 2 : 1);
  return teams.toSorted((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** Choose a team, say the first thing. */
export function NewSession({ opener }: { opener: ComponentChildren }) {
  const app = useApp();
  const workspace = useWorkspace();
  const { teams, loaded, list } = workspace.sessions;
  const { beginning } = workspace;
  const { text } = beginning;
  const busy = useSignal(false);
  const offered = useComputed(() => inOrder(teams.value));
  const team = (offered.value.find(({ name }) => name === beginning.team.value) ?? offered.value[0])?.name ?? null;
  const says = text.value.trim() !== "" && text.value.length <= MAX_TEXT;
  const ready = team !== null && says && !busy.value && app.connection.value.kind === "open";

  const begin = async () => {
    if (!ready) return;
    busy.value = true;
    try {
      await workspace.begin(team, text.value);
    } catch (error) {
      app.report(error);
    } finally {
      busy.value = false;
    }
  };
  const suggest = (idea: string) => {
    beginning.write(idea);
    document.querySelector<HTMLElement>("#composer")?.focus();
  };
  return (
    <main class="new-view">
      <div class="bar-top">{opener}</div>
      <div class="new-body">
        <header>
          <h1>Start a session</h1>
          <p class="lead">Choose a team, then say what it is about.</p>
        </header>
        <fieldset class="teams" aria-busy={!loaded.value}>
          <legend class="unseen">Team</legend>
          {!loaded.value && <p class="hint">Loading the teams…</p>}
          {loaded.value && teams.value.length === 0 && <p class="hint">This hub has no teams yet.</p>}
          {offered.value.map((one) => (
            <TeamCard
              key={one.name}
              team={one}
              isChosen={one.name === team}
              onChoose={() => beginning.choose(one.name)}
            />
          ))}
        </fieldset>
        {loaded.value && list.value.length === 0 && text.value === "" && (
          <ul class="ideas" aria-label="Ideas to begin with">
            {IDEAS.map((idea) => (
              <li key={idea}>
                <button type="button" onClick={() => suggest(idea)}>
                  {idea}
                </button>
              </li>
            ))}
          </ul>
        )}
        <form
          class="composer"
          onSubmit={(event) => {
            event.preventDefault();
            void begin();
          }}
        >
          <TextBox
            value={text.value}
            placeholder="What is it about?"
            autofocus
            onText={(value) => beginning.write(value)}
            onEnter={() => void begin()}
          />
          <TooLong text={text.value} />
          <div class="tools">
            <span class="hint">
              {app.connection.value.kind === "open" || !app.wasConnected.value
                ? "The team goes on whether you watch or not."
                : "It can start when the hub is there again."}
            </span>
            <button type="submit" class="send" aria-label="Start" disabled={!ready}>
              <Send />
            </button>
          </div>
        </form>
      </div>
    </main>
  );
}

function TeamCard({ team, isChosen, onChoose }: { team: TeamResult; isChosen: boolean; onChoose: () => void }) {
  const others = team.agents
    .filter(({ kind }) => kind !== "model")
    .map(({ display_name, kind }) => `${display_name} (${SPEAKERS[kind]})`);
  return (
    <label class="team-card">
      <input type="radio" name="team" value={team.name} checked={isChosen} onChange={onChoose} />
      <span class="faces">
        {team.agents.map((agent) => (
          <Avatar key={agent.name} name={agent.display_name} kind="agent" class={lane(agent.name, team.agents)} />
        ))}
      </span>
      <span class="name">{team.name}</span>
      <span class="model">{team.model}</span>
      <span class="description">
        {team.description}
        {others.length > 0 && ` With ${others.join(", ")}.`}
      </span>
    </label>
  );
}
