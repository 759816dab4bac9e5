import { Miles, ProblemError } from "miles-client";

const miles = new Miles({
  url: process.env["MILES_URL"] ?? "http://localhost:7860",
  apiKey: process.env["MILES_API_KEY"],
  onWaking: ({ waitMs }) => {
    console.log(`The service is waking up; asking again in ${String(waitMs / 1000)} s.`);
  },
});

try {
  const { viral_score, predicted_velocity } = await miles.predict({ title: "How do planes stay up?" });
  console.log(`${(viral_score * 100).toFixed(1)} %, about ${String(Math.round(predicted_velocity))} views a day`);

  const titles = ["GOAL OF THE YEAR", "morning routine", ""];
  for await (const { index, prediction, error } of miles.predictBatch(titles.map((title) => ({ title })))) {
    console.log(index, prediction ? prediction.viral_score : error.detail);
  }
} catch (error) {
  if (!(error instanceof ProblemError)) throw error;
  console.error(`${error.message} (status ${String(error.status)}, request ${error.requestId ?? "unknown"})`);
}
