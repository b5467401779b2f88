// A value to look at: as text, as JSON, or in hexadecimal digits.
import { hexDump, textOf } from "./bytes.js";
import { el } from "./dom.js";
import { bytes } from "./format.js";
import { indented } from "./json.js";

const TEXT_SHOWN_MAX = 256 << 10;
const HEX_SHOWN_MAX = 64 << 10;

export function valueViewer(value) {
  const text = textOf(value);
  const json = text === null || !/^\s*[[{"]/.test(text) ? null : indented(text);
  const forms = [
    ["Text", text === null ? null : () => cut(text, TEXT_SHOWN_MAX)],
    ["JSON", json === null ? null : () => cut(json, TEXT_SHOWN_MAX)],
    ["Hex", () => cut(hexDump(value.slice(0, HEX_SHOWN_MAX)), Infinity, value.length > HEX_SHOWN_MAX)],
  ];
  const out = el("pre", { class: "value", tabindex: "0", "aria-label": "Value" });
  const note = el("p", { class: "soft", role: "status" });
  const buttons = forms.map(([label, make]) =>
    el(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        disabled: make === null,
        title: make ? null : `The value is no ${label === "JSON" ? "JSON" : "text (UTF-8)"}`,
        onclick: () => show(label),
      },
      label,
    ),
  );

  function show(label) {
    const { shown, whole } = forms.find(([each]) => each === label)[1]();
    out.textContent = shown;
    out.classList.toggle("hex", label === "Hex");
    note.textContent = whole ? "" : `Only the beginning is shown, of ${bytes(value.length)}.`;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.textContent === label));
    if (value.length === 0) note.textContent = "The value is empty.";
  }

  show(json !== null ? "JSON" : text !== null ? "Text" : "Hex");
  return el(
    "div",
    { class: "viewer" },
    el("div", { class: "segmented", role: "group", "aria-label": "Shown as" }, buttons),
    out,
    note,
  );
}

function cut(text, most, more = false) {
  return { shown: text.length > most ? text.slice(0, most) : text, whole: text.length <= most && !more };
}
