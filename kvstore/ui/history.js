// The history of a key: all of it that the node keeps, read as a watch from the oldest revision on.
import { member, fromBase64 } from "./bytes.js";
import { el, table } from "./dom.js";
import { bytes, count, stampMs, time } from "./format.js";
import { watch } from "./kv.js";
import { empty, loading, problemNotice } from "./notice.js";
import { readEvents } from "./sse.js";
import { valueViewer } from "./values.js";

const KEPT_MAX = 500;

// The changes of `key`, oldest first: {kind, revision, value, version, stamp}. `last`: the revision of the newest one, or
// null where that is not known. Returns {from, changes, cut}.
export async function historyOf(key, last, signal) {
  const stop = new AbortController();
  const changes = [];
  let cut = false;
  let from = 1;
  let answer;
  const both = AbortSignal.any([signal, stop.signal]);
  try {
    answer = await watch({ key, from, signal: both });
  } catch (failed) {
    if (failed.code !== "compacted" || !failed.body.revision) throw failed;
    from = failed.body.revision;
    if (last !== null && last < from) return { from, changes, cut };
    answer = await watch({ key, from, signal: both });
  }
  try {
    await readEvents(answer, ({ event, data }) => {
      const body = JSON.parse(data);
      if (event === "put" || event === "delete") {
        const value = event === "put" ? fromBase64(body.value_base64) : null;
        changes.push({ ...body, kind: event, key: member(body, "key"), revision: body.mod_revision, value });
        if (changes.length > KEPT_MAX) cut = Boolean(changes.shift());
        if (last !== null && body.mod_revision >= last) stop.abort();
      } else stop.abort();
    });
  } catch (failed) {
    if (!stop.signal.aborted) throw failed;
  }
  return { from, changes, cut };
}

// `restore(value)` puts a former value into the editor.
export function historyPanel(key, last, restore) {
  const aborting = new AbortController();
  const panel = el("section", { class: "panel history" }, el("h3", {}, "History"), loading());
  historyOf(key, last, aborting.signal).then(
    ({ from, changes, cut }) => panel.lastChild.replaceWith(shownHistory(from, changes, cut, restore)),
    (failed) => failed.name !== "AbortError" && panel.lastChild.replaceWith(problemNotice(failed)),
  );
  return { panel, close: () => aborting.abort() };
}

function shownHistory(from, changes, cut, restore) {
  if (changes.length === 0) return empty(`No change since revision ${count(from)}: what was before is forgotten.`);
  const view = el("div", { class: "then", "aria-live": "polite" });
  const look = (change) => {
    const actions = [el("button", { type: "button", onclick: () => restore(change.value) }, "Edit from this value")];
    view.replaceChildren(
      el("h4", {}, `At revision ${change.revision}`),
      valueViewer(change.value),
      el("div", { class: "actions" }, actions),
    );
    view.scrollIntoView({ block: "nearest" });
  };
  const rows = changes.toReversed().map((change) => [
    count(change.revision),
    el("span", { class: `tag ${change.kind}` }, change.kind),
    change.kind === "put" ? count(change.version) : "–",
    change.kind === "put" ? bytes(change.value.length) : "–",
    change.kind === "put" ? time(stampMs(change.stamp)) : "–",
    change.kind === "put" &&
      el("button", { type: "button", onclick: () => look(change), "aria-label": `View revision ${change.revision}` }, "View"),
  ]);
  return el(
    "div",
    {},
    table("History of the key", ["Revision", "Change", "Version", "Size", "When", ""], rows),
    el(
      "p",
      { class: "soft" },
      cut ? `The newest ${KEPT_MAX} changes. ` : "",
      from > 1 ? `The history reaches back to revision ${count(from)}.` : "This is all of it.",
    ),
    view,
  );
}
