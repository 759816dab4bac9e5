export { MAX_BATCH_VIDEOS, Miles } from "./client.ts";
export type { CallOptions, MilesOptions, ScoreOptions } from "./client.ts";
export * from "./errors.ts";
export type { BusyReason, Patience, Wait, WakingReason } from "./patience.ts";
export type * from "./types.ts";
