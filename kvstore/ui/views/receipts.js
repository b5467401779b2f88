// What became of writes at level one.
import { ask } from "../api.js";
import { el, field, table } from "../dom.js";
import { clock, count } from "../format.js";
import { empty, problemNotice } from "../notice.js";
import { receipts } from "../receipts.js";

const EVERY_MS = 1000;
const WORDS = {
  pending: "The node that took it has it on its disk, and hands it over once there is a leader.",
  committed: "A majority has it.",
  superseded: "It changed nothing: the key had been written at a later time.",
  unknown: "Nobody can tell any more.",
};
const REASONS = {
  lost: "The node that gave the receipt does not know it, or is no member any more.",
  expired: "It was committed or superseded, too long ago to be remembered.",
  conflict: "Another request had used its idempotency key.",
};

export function mount(host, parameters) {
  const id = el("input", { value: decodeURIComponent(parameters.id ?? ""), placeholder: "n1.1f6a3c2b1.7", spellcheck: "false", autocapitalize: "none", required: true });
  const out = el("div", { "aria-live": "polite" });
  const own = el("div");
  const known = new Map();
  let timer = 0;
  let closed = false;

  const asked = (text) => ask("GET", `/v1/receipts/${encodeURIComponent(text)}`);

  async function look(event) {
    event?.preventDefault();
    try {
      out.replaceChildren(receiptNotice(await asked(id.value.trim())));
    } catch (failed) {
      out.replaceChildren(problemNotice(failed));
    }
  }

  async function refresh() {
    await Promise.all(
      receipts()
        .filter((each) => (known.get(each.id)?.state ?? "pending") === "pending")
        .slice(0, 20)
        .map(async (each) => {
          try {
            known.set(each.id, await asked(each.id));
          } catch (failed) {
            known.set(each.id, { state: "pending", error: failed });
          }
        }),
    );
    if (closed) return;
    show();
    timer = setTimeout(refresh, EVERY_MS);
  }

  function show() {
    if (receipts().length === 0) {
      own.replaceChildren(empty("No writes at level one from this tab. Choose the level when you edit a key."));
      return;
    }
    const rows = receipts().map((each) => {
      const told = known.get(each.id);
      const state = told?.state ?? "pending";
      return [
        el("code", {}, each.id),
        each.what,
        el("span", { class: `tag ${state}` }, state),
        told?.revision ? count(told.revision) : "–",
        told?.error ? told.error.message : (REASONS[told?.reason] ?? WORDS[state]),
        clock(each.at),
      ];
    });
    own.replaceChildren(table("Writes at level one", ["Receipt", "Write", "State", "Revision", "Meaning", "Sent"], rows));
  }

  host.append(
    el(
      "p",
      { class: "lead" },
      "A write at level one is answered by one node's disk. Its receipt says what became of it; any node can be asked.",
    ),
    el("form", { class: "toolbar", onsubmit: look }, field("Receipt", id), el("button", { class: "main" }, "Look up")),
    out,
    el("h2", {}, "From this tab"),
    own,
  );
  show();
  refresh();
  if (id.value) look();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}

function receiptNotice(receipt) {
  const kind = { committed: "good", pending: "open", superseded: "open", unknown: "bad" }[receipt.state];
  const at = receipt.revision ? ` Revision ${count(receipt.revision)}.` : "";
  return el(
    "div",
    { class: `notice ${kind}` },
    el("strong", {}, `${receipt.id}: ${receipt.state}`),
    el("p", {}, (REASONS[receipt.reason] ?? WORDS[receipt.state]) + at),
  );
}
