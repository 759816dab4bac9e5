// The wire's types under short names; schema.ts is generated from ../openapi.json.
import type { components } from "./schema.ts";

type Schemas = components["schemas"];

export type Video = Schemas["PredictRequest"];
export type Prediction = Schemas["PredictResponse"];
export type Modalities = Schemas["Modalities"];
export type ModalityState = Schemas["ModalityState"];
export type Timings = Schemas["Timings"];
export type Problem = Schemas["Problem"];
export type Explained = Schemas["ExplainResponse"];
export type Explanation = Schemas["Explanation"];
export type Contribution = Schemas["Contribution"];
export type Health = Schemas["Health"];
export type ModelInfo = Schemas["ModelInfo"];

/** One video's answer in a batch: a score, or the problem with this video alone. */
export type BatchEntry =
  | { readonly index: number; readonly prediction: Prediction; readonly error?: undefined }
  | { readonly index: number; readonly prediction?: undefined; readonly error: Problem };
