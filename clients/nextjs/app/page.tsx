import { connection } from "next/server";

import { publicUrl } from "../settings.ts";
import { Scorer } from "./scorer.tsx";

export default async function Page() {
  await connection(); // rendered per request: the policy's nonce and the settings are of this moment
  return (
    <main>
      <h1>Will it take off?</h1>
      <p className="lead">Miles reads a video&rsquo;s title, thumbnail and counts, and says how likely it goes viral.</p>
      <Scorer serviceUrl={publicUrl()} />
    </main>
  );
}
