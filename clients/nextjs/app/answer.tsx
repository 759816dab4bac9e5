import type { ModalityState, Prediction } from "miles-client";

const PARTS = { text: "Title and description", image: "Thumbnail", scalars: "Counts and age" } as const;
const STATES: Record<ModalityState["state"], string> = {
  used: "used",
  truncated: "truncated",
  imputed: "partly unknown; training averages are used",
  missing: "not given",
  failed: "not available",
};

/** A score, and what it is based on. */
export function Answer({ prediction, thumbnailUrl }: { prediction: Prediction; thumbnailUrl: string | undefined }) {
  const { viral_score, predicted_velocity, velocity_interval, confidence, modalities, warnings, model_version } =
    prediction;
  const percent = (share: number) => `${(share * 100).toFixed(1)}%`;
  const count = (views: number) => Math.round(views).toLocaleString("en");
  return (
    <section aria-labelledby="score" className="answer">
      <h2 id="score">
        <span className="figure">{percent(viral_score)}</span> likely to go viral
      </h2>
      <meter min={0} max={1} value={viral_score} aria-label="Likelihood of going viral" />
      <p>
        About <strong>{count(predicted_velocity)} views a day</strong>
        {velocity_interval &&
          `, ${count(velocity_interval.low)} to ${count(velocity_interval.high)} for ${Math.round(velocity_interval.coverage * 100)}% of such videos`}
        {confidence === null ? ". The model has seen no videos like this one." : `; ${percent(confidence)} sure.`}
      </p>
      {/* Loaded from its host without a referrer; this site does not proxy it. */}
      {thumbnailUrl && <img src={thumbnailUrl} alt="The video’s thumbnail" referrerPolicy="no-referrer" />}
      <h3>What it is based on</h3>
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
