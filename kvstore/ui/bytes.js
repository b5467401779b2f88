// Keys and values are bytes. Here they are "byte strings": strings of which each character is one byte (0 to 255), so
// that they compare, cut and join as bytes do.

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function fromText(text) {
  return fromArray(new TextEncoder().encode(text));
}

export function fromArray(array) {
  let text = "";
  for (let at = 0; at < array.length; at += 8192) text += String.fromCharCode(...array.subarray(at, at + 8192));
  return text;
}

export function toArray(bytes) {
  const array = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) array[at] = bytes.charCodeAt(at);
  return array;
}

export const fromBase64 = (text) => atob(text);

// The text that the bytes are, or null if they are none.
export function textOf(bytes) {
  try {
    return strict.decode(toArray(bytes));
  } catch {
    return null;
  }
}

// A member of a JSON answer: `name`, or base64 under `name_base64`.
export function member(body, name) {
  return name in body ? fromText(body[name]) : fromBase64(body[`${name}_base64`] ?? "");
}

// As a part of a path or a query.
export function encoded(bytes) {
  return bytes.replace(/[^A-Za-z0-9_.~-]/g, (char) => "%" + char.charCodeAt(0).toString(16).padStart(2, "0"));
}

export function decoded(text) {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
}

// What cannot be seen, or turns what stands beside it around, is shown by its number.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export function shown(bytes) {
  const text = textOf(bytes);
  if (text !== null) return text.replace(UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return bytes.replace(/[^\x20-\x7e]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

// The first bytes string behind all that begin with `prefix`; "" if there is none.
export function prefixEnd(prefix) {
  const kept = prefix.replace(/\xff+$/, "");
  return kept && kept.slice(0, -1) + String.fromCharCode(kept.charCodeAt(kept.length - 1) + 1);
}

export function hexOf(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at++) text += bytes.charCodeAt(at).toString(16).padStart(2, "0");
  return text;
}

// Bytes of hexadecimal digits; null if they are none.
export function fromHex(text) {
  const digits = text.replace(/\s+/g, "");
  if (!/^([0-9a-f]{2})*$/i.test(digits)) return null;
  return digits.replace(/../g, (pair) => String.fromCharCode(parseInt(pair, 16)));
}

// Lines of offset, sixteen bytes and what of them can be read.
export function hexDump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = bytes.slice(at, at + 16);
    const pairs = hexOf(part).replace(/../g, "$& ").replace(/^(.{24})/, "$1 ").padEnd(50);
    lines.push(`${at.toString(16).padStart(8, "0")}  ${pairs}${part.replace(/[^\x20-\x7e]/g, ".")}`);
  }
  return lines.join("\n");
}
