// Requests to the node that serves the page: to no other, which its policy would not allow anyway.
import { session } from "./session.js";

// An answer that is an error, as the API tells it (RFC 9457).
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `status ${status}`);
    this.status = status;
    this.body = body;
    this.code = body.code ?? "";
    this.outcome = body.outcome ?? null;
  }
}

// No answer came at all.
export class Unreachable extends Error {
  constructor() {
    super("This node does not answer. It may have stopped, or the network between you and it.");
    this.status = 0;
    this.code = "unreachable";
    // Whether it was received is not known.
    this.outcome = "unknown";
  }
}

let unauthenticated = () => {};
export const onUnauthenticated = (listener) => (unauthenticated = listener);

// The response, if it is no error. Raises Problem, Unreachable, AbortError.
export async function request(method, path, { body, headers = {}, signal } = {}) {
  const authorization = session.authorization;
  if (authorization) headers = { ...headers, Authorization: authorization };
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, signal, cache: "no-store", redirect: "error" });
  } catch (failed) {
    if (failed.name === "AbortError") throw failed;
    throw new Unreachable();
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  if (answer.status === 401) unauthenticated();
  throw new Problem(answer.status, told);
}

// Its body as JSON.
export async function ask(method, path, { json, ...how } = {}) {
  const headers = { Accept: "application/json", ...how.headers };
  if (json !== undefined) {
    headers["Content-Type"] = "application/json";
    how.body = JSON.stringify(json);
  }
  const answer = await request(method, path, { ...how, headers });
  try {
    return await answer.json();
  } catch (failed) {
    if (failed.name === "AbortError") throw failed;
    throw new Unreachable();
  }
}

// A name for a write: sent again under it, it is carried out once.
export function newName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
