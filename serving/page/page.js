// The form's fields are the request's fields; the answer is shown as it is.
const form = document.getElementById("video");
const show = (id, text) => { document.getElementById(id).textContent = text; };
const list = (id, lines) => {
  document.getElementById(id).replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
};

function toRequest(fields) {
  const request = {};
  for (const [name, value] of fields) {
    if (value === "") continue;
    if (name === "published_at") request[name] = new Date(value).toISOString();
    else if (name.endsWith("_count") || name === "duration_seconds") request[name] = Number(value);
    else request[name] = value;
  }
  return request;
}

function showAnswer(answer) {
  show("score", `${(answer.viral_score * 100).toFixed(1)} %`);
  document.getElementById("gauge").value = answer.viral_score;
  show("velocity", `About ${Math.round(answer.predicted_velocity).toLocaleString()} views per day; `
    + `confidence ${(answer.confidence * 100).toFixed(0)} %, ${answer.processing_time_ms} ms.`);
  list("modalities", Object.entries(answer.modalities).map(
    ([name, { state, reason }]) => `${name}: ${state}${reason ? ` (${reason})` : ""}`));
  list("warnings", answer.warnings);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answerBox = document.getElementById("answer");
  const problemBox = document.getElementById("problem");
  answerBox.hidden = problemBox.hidden = true;
  try {
    const response = await fetch("predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(toRequest(new FormData(form))),
    });
    const body = await response.json();
    if (!response.ok) throw new Error(`${body.title}: ${body.detail}`);
    showAnswer(body);
    answerBox.hidden = false;
  } catch (error) {
    show("problem", error.message);
    problemBox.hidden = false;
  }
});

fetch("health/ready").then((response) => response.json()).then((health) => {
  if (!health.model_loaded) show("weights", `The model is not ready: ${health.status}.`);
  else if (health.weights === "demo") show("weights", "It runs on the demo checkpoint: random encoders, a head trained on real data.");
});
