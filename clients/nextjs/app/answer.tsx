import type { ModalityState, Prediction } from "miles-client";

const PARTS = { text: "Title and description", image: "Thumbnail", scalars: "Counts and age" } as const;
const STATES: Record<ModalityState["state"], string> = {
  used: "used",
  truncated: "used in part",
  imputed: "partly unknown, so a usual value stands in",
  missing: "not given",
  failed: "could not be had",
};

/** A score in words and figures, and what it rests on. */
export function Answer({ prediction, thumbnailUrl }: { prediction: Prediction; thumbnailUrl: string | undefined }) {
  const { viral_score, predicted_velocity, confidence, modalities, warnings, model_version } = prediction;
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  return (
    <section aria-labelledby="score" className="answer">
      <h2 id="score">
        <span className="figure">{percent(viral_score)}</span> likely to go viral
      </h2>
      <meter min={0} max={1} value={viral_score} aria-label="Likelihood of going viral" />
      <p>
        About <strong>{Math.round(predicted_velocity).toLocaleString("en")} views a day</strong>; {percent(confidence)}{" "}
        sure.
      </p>
      {/* Straight from its host, and without saying who asks: no proxy of this site's stands between. */}
      {thumbnailUrl && <img src={thumbnailUrl} alt="The video’s thumbnail" referrerPolicy="no-referrer" />}
      <h3>What the score rests on</h3>
      <dl>
        {Object.entries(PARTS).map(([name, label]) => (
          <Part key={name} label={label} part={modalities[name as keyof typeof PARTS]} />
        ))}
      </dl>
      {warnings.length > 0 && (
        <>
          <h3>Worth knowing</h3>
          <ul>
            {warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </>
      )}
      <p className="small">{model_version}</p>
    </section>
  );
}

function Part({ label, part }: { label: string; part: ModalityState }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd className={part.state}>
        {STATES[part.state]}
        {part.reason && <span className="small"> ({part.reason.replaceAll("_", " ")})</span>}
      </dd>
    </div>
  );
}
