import { useComputed, useSignal } from "@preact/signals";
import type { MemberResult, PresenceData } from "agent-hub-client";
import { useEffect } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import { describe } from "../store/words.ts";
import { inviteLink } from "../store/route.ts";
import { Avatar } from "./avatar.tsx";
import { useApp } from "./context.ts";
import { Dialog } from "./dialog.tsx";
import { Close, Person } from "./icons.tsx";

const FACES = 4;
/** Each may do what those before it may. */
const ROLES: readonly (readonly [string, string])[] = [
  ["viewer", "reads"],
  ["approver", "answers what the team asks"],
  ["editor", "writes, stops and edits"],
  ["owner", "invites, and deletes the session"],
];

/** Who is here, and how to bring somebody in. */
export function People({ conversation }: { conversation: Conversation }) {
  const open = useSignal(false);
  const here = useComputed(() => [...conversation.presence.value].sort((a, b) => a.name.localeCompare(b.name)));
  const names = here.value.map(({ name }) => name).join(", ");
  return (
    <>
      <button
        type="button"
        class="people"
        title="People"
        aria-label={`People here: ${names || "nobody"}`}
        onClick={() => (open.value = true)}
      >
        {here.value.slice(0, FACES).map((person) => (
          <Avatar key={person.user} name={person.name} kind="person" class={person.status} />
        ))}
        {here.value.length > FACES && <span class="count">+{here.value.length - FACES}</span>}
        {here.value.length === 0 && <Person />}
      </button>
      {open.value && (
        <Dialog title="People" onClose={() => (open.value = false)}>
          <Members conversation={conversation} />
        </Dialog>
      )}
    </>
  );
}

/** Everybody who may be here, whether they are, and, for an owner, who else shall be. */
function Members({ conversation }: { conversation: Conversation }) {
  const { account, rest } = useApp();
  const members = useSignal<readonly MemberResult[]>([]);
  const said = useSignal<{ bad: boolean; text: string } | null>(null);
  const isOwner = conversation.role.value === "owner";
  const me = account.state.value.kind === "signed-in" ? account.state.value.user.id : "";

  const attempt = async (what: (token: string) => Promise<string | null>) => {
    try {
      const text = await account.call(what);
      said.value = text === null ? null : { bad: false, text };
    } catch (error) {
      said.value = { bad: true, text: describe(error) };
    }
    try {
      members.value = (await account.call((token) => rest.members(token, conversation.id))).items;
    } catch (error) {
      said.value = { bad: true, text: describe(error) };
    }
  };
  useEffect(() => void attempt(async () => null), []);

  const invite = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const data = new FormData(form);
    void attempt(async (token) => {
      const name = String(data.get("name")).trim();
      const member = await rest.putMember(token, conversation.id, name, String(data.get("role")));
      form.reset();
      return `${member.name} is ${member.role} of this session.`;
    });
  };
  const makeLink = (event: MouseEvent) => {
    const data = new FormData((event.currentTarget as HTMLButtonElement).form ?? undefined);
    void attempt(async (token) => {
      const made = await rest.invite(token, conversation.id, String(data.get("role")));
      return `For one person, as ${made.role}, until ${made.expires_at.slice(0, 10)}: ${inviteLink(made.token)}`;
    });
  };
  const change = (member: MemberResult, role: string) =>
    attempt(async (token) => {
      await rest.putMember(token, conversation.id, member.user, role);
      return `${member.name} is ${role} now.`;
    });
  const remove = (member: MemberResult) =>
    attempt(async (token) => {
      await rest.removeMember(token, conversation.id, member.user);
      return `${member.name} is no longer a member.`;
    });
  return (
    <>
      <ul class="people-list">
        {members.value.map((member) => (
          <MemberRow
            key={member.user}
            member={member}
            presence={conversation.presence.value.find(({ user }) => user === member.user)}
            isMe={member.user === me}
            onRole={isOwner ? (role) => void change(member, role) : null}
            onRemove={isOwner && member.user !== me ? () => void remove(member) : null}
          />
        ))}
      </ul>
      {isOwner && (
        <form class="invite" onSubmit={invite}>
          <h3>Invite</h3>
          <div class="row">
            <input name="name" aria-label="Name" placeholder="Name" required maxLength={64} autocomplete="off" />
            <select name="role" aria-label="Role">
              {ROLES.map(([role]) => (
                <option key={role} selected={role === "editor"}>
                  {role}
                </option>
              ))}
            </select>
            <button type="submit" class="primary">
              Invite
            </button>
            <button type="button" title="A link that lets one person in" onClick={makeLink}>
              Make a link
            </button>
          </div>
          <dl class="roles">
            {ROLES.map(([role, what]) => (
              <div key={role}>
                <dt>{role}</dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </form>
      )}
      {said.value !== null && (
        <p class={said.value.bad ? "form-error" : "form-note"} role="status">
          {said.value.text}
        </p>
      )}
    </>
  );
}

interface MemberRowProps {
  member: MemberResult;
  presence: PresenceData | undefined;
  isMe: boolean;
  onRole: ((role: string) => void) | null;
  onRemove: (() => void) | null;
}

function MemberRow({ member, presence, isMe, onRole, onRemove }: MemberRowProps) {
  return (
    <li>
      <Avatar name={member.name} kind="person" class={presence?.status ?? "offline"} />
      <span class="name">
        {member.name}
        {isMe && <span class="you"> (you)</span>}
        <span class="status">{presence ? presence.status : "away"}</span>
      </span>
      {onRole === null ? (
        <span class="status">{member.role}</span>
      ) : (
        <select
          aria-label={`Role of ${member.name}`}
          value={member.role}
          onChange={(event) => onRole(event.currentTarget.value)}
        >
          {ROLES.map(([role]) => (
            <option key={role} value={role}>
              {role}
            </option>
          ))}
        </select>
      )}
      {onRemove !== null && (
        <button type="button" class="quiet" aria-label={`Remove ${member.name}`} onClick={onRemove}>
          <Close />
        </button>
      )}
    </li>
  );
}
