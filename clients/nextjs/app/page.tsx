import { connection } from "next/server";

import { publicUrl } from "../settings.ts";
import { Scorer } from "./scorer.tsx";

export default async function Page() {
  await connection(); // rendered per request, with its own nonce and the current settings
  return (
    <main>
      <h1>Will it take off?</h1>
      <p className="lead">
        Miles reads a video&rsquo;s title, thumbnail and counts, and says how likely it is to go viral.
      </p>
      <Scorer serviceUrl={publicUrl()} />
    </main>
  );
}
