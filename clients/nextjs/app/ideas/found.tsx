import type { Prediction } from "miles-client";

type Scores = Pick<Prediction, "viral_score" | "predicted_velocity" | "velocity_interval" | "in_range">;

/** The function's answer. */
export interface Recommended {
  readonly rows: number;
  readonly topic: string;
  readonly draft: Scores & { readonly title: string };
  readonly ideas: readonly (Scores & { readonly title: string; readonly gain: number; readonly reasons: readonly string[] })[];
  readonly smallest_difference: number | null;
  readonly source: string;
  readonly considered: number;
  readonly too_close: number;
  readonly kept: number;
  readonly notes: readonly string[];
}

const percent = (share: number) => `${(share * 100).toFixed(1)}%`;
const count = (views: number) => Math.round(views).toLocaleString("en");

/** The ideas, each with its gain, its interval and the reasons. */
export function Found({ recommended }: { recommended: Recommended }) {
  const { draft, ideas, rows, topic, considered, too_close, kept, notes, source } = recommended;
  return (
    <section aria-labelledby="ideas" className="answer">
      <h2 id="ideas">{ideas.length === 0 ? "No clearly better title" : `${ideas.length} clearly better titles`}</h2>
      <p>
        Your draft: {percent(draft.viral_score)}. {considered} ideas from {source} were scored; {too_close} are not clearly
        better. {rows} videos of “{topic}” were read.{kept > 0 && ` ${kept} ideas are kept.`}
      </p>
      {ideas.map((idea) => (
        <article key={idea.title}>
          <h3>{idea.title}</h3>
          <p>
            <strong>{percent(idea.viral_score)}</strong>, {percent(idea.gain)} more than the draft; about{" "}
            {count(idea.predicted_velocity)} views a day
            {idea.velocity_interval &&
              `, ${count(idea.velocity_interval.low)} to ${count(idea.velocity_interval.high)} for ${Math.round(idea.velocity_interval.coverage * 100)}% of such videos`}
            {!idea.in_range && ". The model has seen no videos like this one"}.
          </p>
          <ul>
            {idea.reasons.map((reason) => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        </article>
      ))}
      {notes.map((note) => (
        <p key={note} className="small">
          {note}
        </p>
      ))}
    </section>
  );
}
