import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { depart } from "../store/arrival.ts";
import { describe } from "../store/words.ts";
import { useApp } from "./context.ts";

const MIN_PASSWORD = 8;

export function SignIn() {
  const { account } = useApp();
  const registering = useSignal(false);
  const busy = useSignal(false);
  const error = useSignal<string | null>(null);
  const provider = useSignal<string | null>(null);
  const mayRegister = useSignal(true);
  useEffect(() => {
    // Without an answer there are still names and passwords.
    account.methods().then(
      ({ oidc, registration }) => {
        provider.value = oidc?.name ?? null;
        mayRegister.value = registration;
        registering.value &&= registration;
      },
      () => undefined,
    );
  }, []);
  const state = account.state.value;
  const notice = error.value ?? (state.kind === "signed-out" ? state.notice : null);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const [name, password] = [String(form.get("username")).trim(), String(form.get("password"))];
    busy.value = true;
    error.value = null;
    try {
      await (registering.value ? account.register(name, password) : account.signIn(name, password));
    } catch (cause) {
      error.value = describe(cause);
    } finally {
      busy.value = false;
    }
  };
  const turn = (to: boolean) => () => {
    registering.value = to;
    error.value = null;
  };

  return (
    <main class="sign-in">
      <form class="card" onSubmit={submit}>
        <img src="/favicon.svg" width="48" height="48" alt="" />
        <h1>Agent Hub</h1>
        <p class="lead">Teams of agents, talking live.</p>
        {mayRegister.value && (
          <div class="tabs" role="group" aria-label="Sign in or register">
            <button type="button" aria-pressed={!registering.value} onClick={turn(false)}>
              Sign in
            </button>
            <button type="button" aria-pressed={registering.value} onClick={turn(true)}>
              Register
            </button>
          </div>
        )}
        <label>
          Name
          <input
            name="username"
            autocomplete="username"
            autocapitalize="none"
            spellcheck={false}
            maxLength={64}
            required
            autofocus
          />
        </label>
        <label>
          Password
          <input
            name="password"
            type="password"
            required
            maxLength={256}
            minLength={registering.value ? MIN_PASSWORD : undefined}
            autocomplete={registering.value ? "new-password" : "current-password"}
          />
        </label>
        {registering.value && <p class="hint">At least {MIN_PASSWORD} characters.</p>}
        {notice !== null && (
          <p class="form-error" role="alert">
            {notice}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy.value}>
          {busy.value ? "One moment…" : registering.value ? "Create account" : "Sign in"}
        </button>
        {provider.value !== null && (
          <a class="provider" href="/v1/auth/oidc" onClick={depart}>
            Sign in with {provider.value}
          </a>
        )}
        {!mayRegister.value && provider.value === null && (
          <p class="hint">No account yet? Ask whoever runs this hub.</p>
        )}
      </form>
    </main>
  );
}
