// What every view looks at: the cluster as this node sees it, and this node's metrics, asked for every two seconds while
// the page is in sight. The newest samples are kept, so that charts have a past when they are opened.
import { ask, request } from "./api.js";
import { Sample } from "./metrics.js";

const EVERY_MS = 2000;
const SAMPLES_MAX = 450;

export const live = { cluster: null, clusterError: null, samples: [], metricsError: null };

const listeners = new Set();
let timer = 0;
let asking = false;

// Returns how to stop.
export function follow(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export async function lookNow() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  await Promise.all([lookAtCluster(), lookAtMetrics()]);
  asking = false;
  for (const listener of [...listeners]) listener();
  timer = setTimeout(() => document.hidden || lookNow(), EVERY_MS);
}

async function lookAtCluster() {
  try {
    live.cluster = await ask("GET", "/v1/cluster", { signal: AbortSignal.timeout(10_000) });
    live.clusterError = null;
  } catch (failed) {
    live.clusterError = failed;
  }
}

async function lookAtMetrics() {
  try {
    const answer = await request("GET", "/metrics", { signal: AbortSignal.timeout(10_000) });
    live.samples.push(new Sample(Date.now() / 1000, await answer.text()));
    if (live.samples.length > SAMPLES_MAX) live.samples.shift();
    live.metricsError = null;
  } catch (failed) {
    live.metricsError = failed;
  }
}

document.addEventListener("visibilitychange", () => document.hidden || lookNow());
