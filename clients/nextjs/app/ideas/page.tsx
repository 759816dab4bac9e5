import type { Metadata } from "next";
import { connection } from "next/server";

import { Ideas } from "./ideas.tsx";

export const metadata: Metadata = { title: "Title ideas. Miles" };

export default async function Page() {
  await connection(); // rendered per request, with its own nonce
  return (
    <main>
      <h1>A better title?</h1>
      <p className="lead">
        Ideas that the model rates clearly higher than your draft, based on what works in the
        topic. <a href="/">Score a video</a>
      </p>
      <Ideas />
    </main>
  );
}
