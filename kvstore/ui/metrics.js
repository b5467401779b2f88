// The text of /metrics, and what can be said of two of them. Pure.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

function number(text) {
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}

export class Sample {
  constructor(time, text) {
    this.time = time;
    this.families = new Map();
    for (const line of text.split("\n")) {
      const found = line[0] === "#" ? null : LINE.exec(line);
      if (!found) continue;
      const labels = {};
      for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) labels[name] = value;
      let rows = this.families.get(found[1]);
      if (!rows) this.families.set(found[1], (rows = []));
      rows.push({ labels, value: number(found[3]) });
    }
  }

  // The sum over all rows that `wanted` takes; null if there is no such metric.
  total(name, wanted = () => true) {
    const rows = this.families.get(name);
    if (!rows) return null;
    let sum = 0;
    for (const row of rows) if (wanted(row.labels)) sum += row.value;
    return sum;
  }
}

// How much a counter grew in a second; null where it began anew, or is not there.
export function perSecond(before, now, name, wanted) {
  const [first, last] = [before.total(name, wanted), now.total(name, wanted)];
  const elapsed = now.time - before.time;
  if (first === null || last === null || last < first || elapsed <= 0) return null;
  return (last - first) / elapsed;
}

// The quantile of a histogram's growth between two samples, in seconds; null where nothing was counted.
export function quantile(before, now, name, share, wanted = () => true) {
  const rows = now.families.get(`${name}_bucket`);
  if (!rows) return null;
  const bounds = new Map();
  for (const [sample, sign] of [[now, 1], [before, -1]]) {
    for (const { labels, value } of sample.families.get(`${name}_bucket`) ?? []) {
      if (wanted(labels)) bounds.set(labels.le, (bounds.get(labels.le) ?? 0) + sign * value);
    }
  }
  const steps = [...bounds].map(([bound, value]) => [number(bound), value]).sort((a, b) => a[0] - b[0]);
  const all = steps.length ? steps[steps.length - 1][1] : 0;
  if (!(all > 0)) return null;
  const rank = share * all;
  let [low, below] = [0, 0];
  for (const [bound, value] of steps) {
    if (value >= rank) {
      if (bound === Infinity) return low;
      return value > below ? low + ((bound - low) * (rank - below)) / (value - below) : bound;
    }
    [low, below] = [bound, value];
  }
  return low;
}
