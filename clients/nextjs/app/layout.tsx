import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";

import "./page.css";

export const metadata: Metadata = {
  title: "Will it take off? Miles",
  description: "Scores short-form videos before they take off.",
};

export const viewport: Viewport = { colorScheme: "light dark" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
