"use client";

import { Miles, type Prediction, type Wait, type WakingReason } from "miles-client";
import { useEffect, useRef, useState, type SubmitEvent } from "react";

import { Answer } from "./answer.tsx";
import { Fields, videoIn } from "./fields.tsx";
import { Trouble } from "./trouble.tsx";

const OWN_ROUTE = "/api/miles";
const STILL_BUSY = "The service is busy.";
const WORDS: Record<WakingReason, string> = {
  asleep: "The service was asleep and is waking up. That can take a minute or two.",
  loading: "The service is up and is loading its model.",
  unreachable: "The service does not answer yet. It may be waking up.",
  timeout: "The service is slow to answer. It may be waking up.",
};

type State =
  | { readonly name: "idle" }
  | { readonly name: "asking"; readonly words: string }
  | { readonly name: "scored"; readonly prediction: Prediction; readonly thumbnailUrl: string | undefined }
  | { readonly name: "failed"; readonly error: unknown };

/** The form and its result. `serviceUrl` is set if a browser may call the service itself. */
export function Scorer({ serviceUrl }: { serviceUrl: string | undefined }) {
  const [state, setState] = useState<State>({ name: "idle" });
  const call = useRef<AbortController>(null);
  useEffect(() => () => call.current?.abort(), []);

  async function score(form: FormData) {
    call.current?.abort();
    const { signal } = (call.current = new AbortController());
    const show = (next: State) => {
      if (!signal.aborted) setState(next); // a later call has taken over
    };
    const wait = (words: string, { waitMs }: Wait<string>) => {
      show({ name: "asking", words: `${words} Retrying in ${Math.ceil(waitMs / 1000)} s.` });
    };
    show({ name: "asking", words: "Scoring…" });
    const miles = new Miles({
      url: form.get("way") === "direct" && serviceUrl ? serviceUrl : OWN_ROUTE,
      onWaking: (waking) => wait(WORDS[waking.reason], waking),
      onRetry: (retry) => wait(STILL_BUSY, retry),
    });
    try {
      const video = videoIn(form);
      const prediction = await miles.predict(video, { signal });
      show({ name: "scored", prediction, thumbnailUrl: video.thumbnail_url ?? undefined });
    } catch (error) {
      show({ name: "failed", error });
    }
  }

  function submit(event: SubmitEvent<HTMLFormElement>) {
    event.preventDefault();
    void score(new FormData(event.currentTarget));
  }

  function stop() {
    call.current?.abort();
    setState({ name: "idle" });
  }

  const asking = state.name === "asking";
  return (
    <>
      <form onSubmit={submit}>
        <Fields />
        {serviceUrl && <Way serviceUrl={serviceUrl} />}
        <p className="buttons">
          <button type="submit">Score it</button>
          {asking && (
            <button type="button" className="quiet" onClick={stop}>
              Stop
            </button>
          )}
        </p>
      </form>
      <div role="status" aria-busy={asking}>
        {asking && <p className="waiting">{state.words}</p>}
        {state.name === "scored" && <Answer prediction={state.prediction} thumbnailUrl={state.thumbnailUrl} />}
      </div>
      <div role="alert">{state.name === "failed" && <Trouble error={state.error} />}</div>
    </>
  );
}

function Way({ serviceUrl }: { serviceUrl: string }) {
  return (
    <fieldset>
      <legend>Connection</legend>
      <label>
        <input type="radio" name="way" value="server" defaultChecked /> through this site, which keeps the key
      </label>
      <label>
        <input type="radio" name="way" value="direct" /> straight from this browser to {new URL(serviceUrl).host}
      </label>
    </fieldset>
  );
}
