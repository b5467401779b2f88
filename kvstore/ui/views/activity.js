// Live charts of the node that serves the page, made of its metrics.
import { Chart } from "../charts.js";
import { el } from "../dom.js";
import { bytes, rate, seconds } from "../format.js";
import { follow, live } from "../live.js";
import { perSecond, quantile } from "../metrics.js";
import { loading, problemNotice } from "../notice.js";

const SECONDS = "kv_http_request_seconds";
const OUTCOMES = "kv_request_seconds_count";
const ofLevel = (level) => (labels) => labels.level === level;
const levelled = (labels) => labels.level !== "";
const withOutcome = (...some) => (labels) => some.includes(labels.outcome);
const refused = (labels) => !["ok", "pending", "unknown", "failed"].includes(labels.outcome);

// Title, what it is, number format, series: [label, colour, (before, now) => number or null]
const CHARTS = [
  [
    "Requests by level",
    "About keys, each second",
    rate,
    [
      ["one", "--c1", (before, now) => perSecond(before, now, `${SECONDS}_count`, ofLevel("one"))],
      ["quorum", "--c2", (before, now) => perSecond(before, now, `${SECONDS}_count`, ofLevel("quorum"))],
      ["all", "--c3", (before, now) => perSecond(before, now, `${SECONDS}_count`, ofLevel("all"))],
    ],
  ],
  [
    "Requests by outcome",
    "About keys, each second",
    rate,
    [
      ["ok, pending", "--c2", (before, now) => perSecond(before, now, OUTCOMES, withOutcome("ok", "pending"))],
      ["refused", "--c3", (before, now) => perSecond(before, now, OUTCOMES, refused)],
      ["unknown, failed", "--c4", (before, now) => perSecond(before, now, OUTCOMES, withOutcome("unknown", "failed"))],
    ],
  ],
  [
    "Latency",
    "Of requests about keys, in this node",
    seconds,
    [
      ["half within", "--c1", (before, now) => quantile(before, now, SECONDS, 0.5, levelled)],
      ["99 % within", "--c4", (before, now) => quantile(before, now, SECONDS, 0.99, levelled)],
    ],
  ],
  [
    "Disk",
    "How long one sync of the journal takes",
    seconds,
    [
      ["half within", "--c1", (before, now) => quantile(before, now, "kv_journal_sync_seconds", 0.5)],
      ["99 % within", "--c4", (before, now) => quantile(before, now, "kv_journal_sync_seconds", 0.99)],
    ],
  ],
  [
    "Staleness",
    "How old what this node has applied may be",
    seconds,
    [["age", "--c2", (_before, now) => now.total("kv_staleness_seconds")]],
  ],
  [
    "Log",
    "Entries committed, and changes of the leader",
    rate,
    [
      ["entries", "--c2", (before, now) => perSecond(before, now, "kv_raft_commit_index")],
      ["leader changes", "--c4", (before, now) => perSecond(before, now, "kv_raft_leader_changes_total")],
    ],
  ],
  [
    "Bytes",
    "Memory of the process, the journal on disk, writes that wait",
    bytes,
    [
      ["memory", "--c1", (_before, now) => now.total("process_resident_memory_bytes")],
      ["journal", "--c2", (_before, now) => now.total("kv_journal_bytes")],
      ["waiting writes", "--c3", (_before, now) => now.total("kv_writes_pending_bytes")],
    ],
  ],
  [
    "Waiting",
    "Requests that wait for their level, for a fresh state, for a leader",
    (number) => String(Math.round(number * 100) / 100),
    [
      ["writes", "--c1", (_before, now) => now.total("kv_writes_pending")],
      ["reads", "--c2", (_before, now) => now.total("kv_reads_pending")],
      ["level-one writes", "--c3", (_before, now) => now.total("kv_intents_pending")],
    ],
  ],
];

export function mount(host) {
  const trouble = el("div", {}, loading("The first charts are drawn after two samples, in a few seconds."));
  const charts = CHARTS.map(([title, about, format, series]) => {
    const chart = new Chart(title, about, series.map(([label, name]) => ({ label, colour: name })), format);
    return { chart, series };
  });
  // Each point is computed once: of a pair of samples that does not change.
  const points = new Map();
  host.append(trouble, el("div", { class: "charts" }, charts.map(({ chart }) => chart.figure)));

  function pointsOf(before, now) {
    let found = points.get(now);
    if (!found) {
      found = charts.map(({ series }) => series.map(([, , compute]) => compute(before, now)));
      points.set(now, found);
    }
    return found;
  }

  function show() {
    const { samples, metricsError } = live;
    trouble.replaceChildren();
    if (metricsError && metricsError.status !== 401) trouble.append(problemNotice(metricsError));
    else if (samples.length < 2) trouble.append(loading("The first points come after two samples, in a few seconds."));
    const times = [];
    const found = [];
    for (let at = 1; at < samples.length; at++) {
      times.push(samples[at].time);
      found.push(pointsOf(samples[at - 1], samples[at]));
    }
    for (const known of [...points.keys()]) if (!samples.includes(known)) points.delete(known);
    charts.forEach(({ chart, series }, which) => {
      chart.show(times, series.map((_, column) => found.map((point) => point[which][column])));
    });
  }

  show();
  const stop = follow(show);
  return () => {
    stop();
    for (const { chart } of charts) chart.close();
  };
}
