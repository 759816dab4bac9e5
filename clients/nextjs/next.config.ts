import { join } from "node:path";
import type { NextConfig } from "next";

const clients = join(import.meta.dirname, ".."); // ../typescript/src is bundled from its source

const config: NextConfig = {
  turbopack: { root: clients },
  outputFileTracingRoot: clients,
  // Thumbnails come from anywhere: an optimiser that fetches any URL would be an open proxy.
  images: { unoptimized: true },
  poweredByHeader: false,
};

export default config;
