// Edits a value, or puts a new key: with a level, a condition and a lease.
import { fromHex, fromText, hexOf, shown, textOf } from "./bytes.js";
import { choice, el, field } from "./dom.js";
import { put } from "./kv.js";
import { carryOut, putWords } from "./writing.js";

export const LEVELS = [
  ["one", "One – this node's disk, a receipt for the rest"],
  ["quorum", "Quorum – a majority has it on disk"],
  ["all", "All – every voter has applied it"],
];

// Line ends other than \n would be changed by the field in which text is edited.
const editable = (text) => text !== null && !text.includes("\r");

// `record`: what is edited, null for a new key. `written(key, answer)` is called when it was taken.
export function editor({ record, prefix = "", value = record?.value ?? "", written, cancelled }) {
  const text = textOf(value);
  let format = editable(text) ? "text" : "hex";
  const name = el("input", {
    value: textOf(prefix) ?? "",
    spellcheck: "false",
    autocapitalize: "none",
    autocomplete: "off",
    required: true,
  });
  const formats = choice([["text", "Text"], ["json", "JSON, checked"], ["hex", "Hexadecimal bytes"]], format);
  const area = el("textarea", { rows: "10", spellcheck: "false" });
  area.value = format === "text" ? text : hexOf(value);
  const level = choice(LEVELS, "quorum");
  const unchanged = record ? [["unchanged", `Only if unchanged (revision ${record.mod_revision})`]] : [];
  const conditions = record
    ? [...unchanged, ["present", "Only if the key is there"], ["absent", "Only if the key is absent"], ["", "Always"]]
    : [["absent", "Only if the key is absent"], ["", "Always"]];
  // What is pending at level one has no revision to compare with.
  if (record?.mod_revision === 0) conditions.shift();
  const condition = choice(conditions, conditions[0][0]);
  const lease = el("input", {
    inputmode: "numeric",
    pattern: "[0-9]*",
    placeholder: "none",
    value: record?.lease ? String(record.lease) : "",
  });
  const wrong = el("p", { class: "wrong", role: "alert" });
  const out = el("div", { class: "out", "aria-live": "polite" });
  const save = el("button", { class: "main" }, record ? "Save" : "Put");

  level.addEventListener("change", () => {
    const one = level.value === "one";
    condition.disabled = lease.disabled = one;
    if (one) condition.value = "";
    wrong.textContent = one ? "At level one a write takes no condition and no lease." : "";
  });
  formats.addEventListener("change", () => {
    const now = bytesOf(area.value, format);
    const next = now === null ? null : formats.value === "hex" ? hexOf(now) : editable(textOf(now)) ? textOf(now) : null;
    if (next === null) {
      wrong.textContent = now === null ? invalid(format) : "These bytes cannot be edited as text.";
      formats.value = format;
      return;
    }
    wrong.textContent = "";
    format = formats.value;
    area.value = next;
  });

  async function submit(event) {
    event.preventDefault();
    const bytes = bytesOf(area.value, format);
    if (bytes === null) {
      wrong.textContent = invalid(format);
      area.focus();
      return;
    }
    const key = record ? record.key : fromText(name.value);
    wrong.textContent = "";
    save.disabled = true;
    const asked = condition.value === "unchanged" ? record.mod_revision : condition.value || null;
    const how = { level: level.value, condition: level.value === "one" ? null : asked };
    how.lease = level.value === "one" ? 0 : Number(lease.value || 0);
    const answer = await carryOut(out, putWords(key), (each) => put(key, bytes, { ...how, name: each }));
    save.disabled = false;
    if (answer) written(key, answer, out.firstElementChild);
  }

  return el(
    "form",
    { class: "editor", onsubmit: submit, "aria-label": record ? `Edit ${shown(record.key)}` : "New key" },
    !record && field("Key", name),
    field("Value", area),
    el(
      "div",
      { class: "fields" },
      field("Written as", formats),
      field("Level", level),
      field("Condition", condition),
      field("Lease", lease),
    ),
    wrong,
    el(
      "div",
      { class: "actions" },
      save,
      el("button", { type: "button", onclick: cancelled }, "Cancel"),
    ),
    out,
  );
}

function bytesOf(text, format) {
  if (format === "hex") return fromHex(text);
  if (format === "json") {
    try {
      JSON.parse(text);
    } catch {
      return null;
    }
  }
  return fromText(text);
}

const invalid = (format) => (format === "hex" ? "These are no hexadecimal bytes: 00 to ff." : "This is no JSON.");
