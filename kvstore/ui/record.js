// One key: what it holds, since when, and what can be done with it.
import { encoded, shown } from "./bytes.js";
import { confirmed, el } from "./dom.js";
import { editor } from "./editor.js";
import { bytes, count, stampMs, time } from "./format.js";
import { historyPanel } from "./history.js";
import { get, remove } from "./kv.js";
import { loading, openNotice, problemNotice } from "./notice.js";
import { valueViewer } from "./values.js";
import { carryOut, deleteWords } from "./writing.js";

// `notice`: of the write that led here. Returns {panel, close}.
export function recordPanel(key, { level, notice, back, changed, open }) {
  const aborting = new AbortController();
  const body = el("div", {}, loading());
  const out = el("div", { class: "out", "aria-live": "polite" }, notice);
  const head = el("h2", { class: "key", tabindex: "-1" }, shown(key));
  let closeHistory = () => {};
  const panel = el(
    "div",
    {},
    el("button", { type: "button", class: "quiet back", onclick: back }, "‹ All keys"),
    head,
    out,
    body,
  );

  async function load() {
    try {
      show(await get(key, { level, signal: aborting.signal }));
    } catch (failed) {
      if (failed.name === "AbortError") return;
      if (failed.code === "key_not_found") absent();
      else {
        const again = el("button", { type: "button", onclick: load }, "Try again");
        body.replaceChildren(problemNotice(failed, { actions: [again] }));
      }
    }
  }

  function absent() {
    const place = el("div");
    body.replaceChildren(
      openNotice("The key is absent", el("p", {}, "It was deleted, or never was there.")),
      el("div", { class: "actions" }, historyButton(null, place)),
      place,
    );
  }

  function historyButton(last, place, restore = () => {}) {
    const toggle = (event) => {
      closeHistory();
      const opened = place.childElementCount > 0;
      event.target.setAttribute("aria-expanded", String(!opened));
      if (opened) return place.replaceChildren();
      const history = historyPanel(key, last, restore);
      closeHistory = history.close;
      return place.replaceChildren(history.panel);
    };
    return el("button", { type: "button", onclick: toggle, "aria-expanded": "false" }, "History");
  }

  function show(record) {
    const pending = record.mod_revision === 0;
    const facts = [
      ["Revision", pending ? "pending" : count(record.mod_revision)],
      ["Version", count(record.version)],
      ["Created at", pending ? "–" : count(record.create_revision)],
      ["Size", bytes(record.value.length)],
      ["Written", time(stampMs(record.stamp))],
      ["Lease", record.lease ? el("a", { href: `#/leases?id=${record.lease}` }, String(record.lease)) : "none"],
    ];
    const place = el("div");
    body.replaceChildren(
      el("dl", { class: "facts" }, facts.map(([name, fact]) => el("div", {}, el("dt", {}, name), el("dd", {}, fact)))),
      valueViewer(record.value),
      el(
        "div",
        { class: "actions" },
        el("button", { type: "button", class: "main", onclick: () => edit(record) }, "Edit"),
        historyButton(pending ? null : record.mod_revision, place, (value) => edit(record, value)),
        el("a", { class: "button", href: `#/watch?key=${encoded(key)}` }, "Watch"),
        el("button", { type: "button", onclick: load }, "Reload"),
        el("button", { type: "button", class: "danger", onclick: () => erase(record) }, "Delete"),
      ),
      place,
    );
  }

  function edit(record, value = record.value) {
    closeHistory();
    out.replaceChildren();
    const form = editor({
      record,
      value,
      written: (_key, _answer, told) => {
        changed();
        open(key, { notice: told });
      },
      cancelled: () => show(record),
    });
    body.replaceChildren(form);
    form.querySelector("textarea").focus();
  }

  async function erase(record) {
    const detail = `It is deleted only if it is unchanged since revision ${record.mod_revision}.`;
    if (!(await confirmed(`Delete ${shown(key)}?`, record.mod_revision ? detail : "It is deleted as it is.", "Delete"))) {
      return;
    }
    const how = { level: "quorum", condition: record.mod_revision || null };
    const answer = await carryOut(out, deleteWords(key), (name) => remove(key, { ...how, name }));
    if (answer) {
      absent();
      changed();
    }
  }

  load();
  return {
    panel,
    close: () => {
      aborting.abort();
      closeHistory();
    },
  };
}
