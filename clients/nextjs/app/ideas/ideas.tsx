"use client";

import { ProblemError, type Problem } from "miles-client";
import { useEffect, useRef, useState, type SubmitEvent } from "react";

import { Trouble } from "../trouble.tsx";
import { Found, type Recommended } from "./found.tsx";

type State =
  | { readonly name: "idle" }
  | { readonly name: "asking" }
  | { readonly name: "found"; readonly recommended: Recommended }
  | { readonly name: "failed"; readonly error: unknown };

/** The form and the ideas. A site with a login takes the token from its session instead of the field. */
export function Ideas() {
  const [state, setState] = useState<State>({ name: "idle" });
  const call = useRef<AbortController>(null);
  useEffect(() => () => call.current?.abort(), []);

  async function find(form: FormData) {
    call.current?.abort();
    const { signal } = (call.current = new AbortController());
    setState({ name: "asking" });
    try {
      const recommended = await ask(form, signal);
      if (!signal.aborted) setState({ name: "found", recommended });
    } catch (error) {
      if (!signal.aborted) setState({ name: "failed", error });
    }
  }

  function submit(event: SubmitEvent<HTMLFormElement>) {
    event.preventDefault();
    void find(new FormData(event.currentTarget));
  }

  const asking = state.name === "asking";
  return (
    <>
      <form onSubmit={submit}>
        <label>
          Topic
          <input name="topic" required minLength={2} maxLength={60} autoComplete="off" placeholder="pasta" />
        </label>
        <label>
          Draft title
          <input name="title" required maxLength={100} autoComplete="off" placeholder="Grandmother cooks pasta" />
        </label>
        <label>
          Access token of your account
          <input name="token" type="password" required autoComplete="off" />
        </label>
        <label>
          <input name="keep" type="checkbox" /> keep the ideas in my account
        </label>
        <p className="buttons">
          <button type="submit" disabled={asking}>
            Find ideas
          </button>
        </p>
      </form>
      <div role="status" aria-busy={asking}>
        {asking && <p className="waiting">Looking at the topic and scoring ideas…</p>}
        {state.name === "found" && <Found recommended={state.recommended} />}
      </div>
      <div role="alert">{state.name === "failed" && <Trouble error={state.error} />}</div>
    </>
  );
}

async function ask(form: FormData, signal: AbortSignal): Promise<Recommended> {
  const token = form.get("token");
  const response = await fetch("/api/ideas", {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${typeof token === "string" ? token.trim() : ""}` },
    body: JSON.stringify({ topic: form.get("topic"), title: form.get("title"), keep: form.get("keep") === "on" }),
    signal,
  });
  if (response.ok) return (await response.json()) as Recommended;
  const seconds = Number(response.headers.get("Retry-After")) || undefined;
  throw new ProblemError((await response.json()) as Problem, undefined, seconds && seconds * 1000);
}
