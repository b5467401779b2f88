// Calls about keys. Keys and values are byte strings (bytes.js).
import { ask, request } from "./api.js";
import { encoded, fromBase64, member, toArray } from "./bytes.js";

export const keyPath = (key) => `/v1/kv/${encoded(key)}`;

// A record as an answer has it: {key, value, mod_revision, ...}; `value` is null where only keys were asked for.
export function recordOf(body) {
  return { ...body, key: member(body, "key"), value: "value_base64" in body ? fromBase64(body.value_base64) : null };
}

export async function get(key, { level = "quorum", revision, signal } = {}) {
  const at = revision === undefined ? "" : `&revision=${revision}`;
  return recordOf(await ask("GET", `${keyPath(key)}?level=${level}${at}`, { signal }));
}

// A page of keys in [start, end): {count, revision, cursor, records}.
export async function page(start, end, { level, limit, signal }) {
  const query = `start=${encoded(start)}&end=${encoded(end)}&level=${level}&limit=${limit}&keys_only=true`;
  const body = await ask("GET", `/v1/kv?${query}`, { signal });
  return { ...body, records: body.records.map(recordOf) };
}

export async function countOf(prefix, { level, signal }) {
  return (await ask("GET", `/v1/kv?prefix=${encoded(prefix)}&level=${level}&count_only=true`, { signal })).count;
}

function conditionOf(condition) {
  if (condition === "absent") return { "If-None-Match": "*" };
  if (condition === "present") return { "If-Match": "*" };
  return typeof condition === "number" ? { "If-Match": `"${condition}"` } : {};
}

// `condition`: null, "absent", "present", or a mod_revision. `name`: under which it may be sent again.
export function put(key, value, { level, condition = null, lease = 0, name }) {
  const headers = { "Idempotency-Key": name, "Content-Type": "application/octet-stream", ...conditionOf(condition) };
  const more = lease ? `&lease=${lease}` : "";
  return ask("PUT", `${keyPath(key)}?level=${level}${more}`, { body: toArray(value), headers });
}

export function remove(key, { level, condition = null, name }) {
  return ask("DELETE", `${keyPath(key)}?level=${level}`, {
    headers: { "Idempotency-Key": name, ...conditionOf(condition) },
  });
}

// The response of a watch, to be read by sse.js.
export function watch({ key, prefix, from, lastId, previous = false, signal }) {
  const what = key === undefined ? `prefix=${encoded(prefix)}` : `key=${encoded(key)}`;
  const begin = from ? `&from=${from}` : "";
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  return request("GET", `/v1/watch?${what}${begin}&previous=${previous}`, { signal, headers });
}
