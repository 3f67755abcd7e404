import { useSignal } from "@preact/signals";
import type { Conversation } from "../store/conversation.ts";
import { describe } from "../store/conversation.ts";
import { Avatar } from "./avatar.tsx";
import { useApp } from "./context.ts";
import { Dialog } from "./dialog.tsx";
import { Person } from "./icons.tsx";

const FACES = 4;
const ROLES = ["editor", "approver", "viewer", "owner"];

/** Who is here, and how to bring somebody in. */
export function People({ conversation }: { conversation: Conversation }) {
  const open = useSignal(false);
  const people = [...conversation.presence.value].sort((a, b) => a.name.localeCompare(b.name));
  return (
    <>
      <button type="button" class="people" aria-label={`People: ${people.map(({ name }) => name).join(", ") || "nobody"}`} title="People" onClick={() => (open.value = true)}>
        {people.slice(0, FACES).map((person) => (
          <Avatar key={person.user} name={person.name} kind="person" class={person.status} />
        ))}
        {people.length > FACES && <span class="count">+{people.length - FACES}</span>}
        {people.length === 0 && <Person />}
      </button>
      {open.value && (
        <Dialog title="People here" onClose={() => (open.value = false)}>
          <ul class="people-list">
            {people.map((person) => (
              <li key={person.user}>
                <Avatar name={person.name} kind="person" class={person.status} />
                <span class="name">{person.name}</span>
                <span class="status">
                  {person.status}
                  {person.connections > 1 ? ` · ${person.connections} connections` : ""}
                </span>
              </li>
            ))}
          </ul>
          {conversation.role.value === "owner" && <Invite conversation={conversation} />}
        </Dialog>
      )}
    </>
  );
}

function Invite({ conversation }: { conversation: Conversation }) {
  const { account, rest } = useApp();
  const said = useSignal<{ bad: boolean; text: string } | null>(null);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const data = new FormData(form);
    const [name, role] = [String(data.get("name")).trim(), String(data.get("role"))];
    try {
      const member = await account.call((token) => rest.putMember(token, conversation.id, name, role));
      said.value = { bad: false, text: `${member.name} is ${member.role} of this session.` };
      form.reset();
    } catch (error) {
      said.value = { bad: true, text: describe(error) };
    }
  };
  return (
    <form class="invite" onSubmit={submit}>
      <h3>Invite</h3>
      <div class="row">
        <input name="name" aria-label="Name" placeholder="Name" required maxLength={64} autocomplete="off" />
        <select name="role" aria-label="Role">
          {ROLES.map((role) => (
            <option key={role}>{role}</option>
          ))}
        </select>
        <button type="submit" class="primary">
          Invite
        </button>
      </div>
      {said.value !== null && (
        <p class={said.value.bad ? "form-error" : "form-note"} role="status">
          {said.value.text}
        </p>
      )}
    </form>
  );
}
