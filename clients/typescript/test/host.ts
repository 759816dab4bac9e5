// A host in front of the real service, like a Space's: it answers itself for a while, then passes requests on.
import { once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

import { required } from "./required.ts";

export type Answer = (answer: ServerResponse, question: IncomingMessage) => void;

export const MILES_URL = required("MILES_URL");

/** A host whose first answers are `scripted`; all later ones are the real service's. It ends with the test. */
export async function hostOf(test: TestContext, scripted: Answer[] = []) {
  const seen: string[] = [];
  const server = createServer((question, answer) => {
    const own = scripted[seen.length] ?? passOn;
    seen.push(`${question.method ?? ""} ${question.url ?? ""}`);
    own(answer, question);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, seen };
}

export const waitingPage =
  (status: number): Answer =>
  (answer) => {
    answer.writeHead(status, { "Content-Type": "text/html; charset=utf-8" }).end("<h1>Your Space is starting</h1>");
  };

export const problem =
  (status: number, type: string, headers: Record<string, string> = {}): Answer =>
  (answer) => {
    const details = { type, title: "A title", status, detail: "A detail.", instance: "urn:uuid:1" };
    answer.writeHead(status, { "Content-Type": "application/problem+json", ...headers }).end(JSON.stringify(details));
  };

export const silence: Answer = () => undefined;

/** The real service's answer, cut off after its first line. */
export const brokenAfterFirstPiece: Answer = (answer, question) => {
  upstream(question, (real) => {
    answer.writeHead(real.statusCode ?? 0, real.headers);
    real.once("data", (piece: Buffer) => {
      answer.write(piece.subarray(0, piece.indexOf("\n") + 1), () => answer.destroy());
    });
  });
};

export const passOn: Answer = (answer, question) => {
  upstream(question, (real) => {
    answer.writeHead(real.statusCode ?? 0, real.headers);
    real.pipe(answer);
  });
};

function upstream(question: IncomingMessage, onAnswer: (real: IncomingMessage) => void): void {
  const { method, headers, url } = question;
  question.pipe(request(new URL(url ?? "/", MILES_URL), { method, headers }, onAnswer));
}
