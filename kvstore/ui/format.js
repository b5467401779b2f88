// Numbers and times for people.

const whole = new Intl.NumberFormat("en");
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const count = (number) => (number === null || number === undefined ? "–" : whole.format(number));

export function bytes(number) {
  if (number === null || !Number.isFinite(number)) return "–";
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (Math.abs(number) >= size) return `${small.format(number / size)} ${unit}`;
  }
  return `${whole.format(number)} B`;
}

export function rate(number) {
  if (number === null || !Number.isFinite(number)) return "–";
  return number >= 1000 ? `${small.format(number / 1000)} k/s` : `${small.format(number)}/s`;
}

export function seconds(number) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  if (number === Infinity) return "unknown";
  if (number === 0) return "0 s";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) {
    if (number >= size) return `${small.format(number / size)} ${unit}`;
  }
  return `${number.toExponential(1)} s`;
}

export const time = (ms) => new Date(ms).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
export const clock = (ms) => new Date(ms).toLocaleTimeString();

// Milliseconds since 1970 of a stamp.
export const stampMs = (stamp) => Number(stamp.split(".", 1)[0]);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// A chance by its nines (3 is 99.9 %), with as many digits as tell it from 1; null is 1 itself.
export function chance(nines) {
  if (nines === null) return "100 %";
  if (nines < 9) return `${(100 - 100 * 10 ** -nines).toFixed(Math.max(2, Math.ceil(nines) - 1))} %`;
  const [digits, exponent] = (10 ** -nines).toExponential(1).split("e");
  return `1 − ${digits}·10${exponent.replace(/./g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]))}`;
}
