import { MilesError, ProblemError } from "miles-client";

/** What went wrong, in words, and what may help. */
export function Trouble({ error }: { error: unknown }) {
  if (error instanceof ProblemError) {
    return (
      <section className="trouble">
        <h2>{error.problem.title}</h2>
        <p>{error.problem.detail}</p>
        {error.retryAfterMs !== undefined && <p>Try again in {Math.ceil(error.retryAfterMs / 1000)} s.</p>}
        <p className="small">Request {error.requestId ?? error.problem.instance}</p>
      </section>
    );
  }
  return (
    <section className="trouble">
      <h2>No score</h2>
      <p>{error instanceof MilesError ? error.message : "Something went wrong on this page. Reload it and try again."}</p>
    </section>
  );
}
