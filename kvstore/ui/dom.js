// Elements. Text goes in as text, never as markup: there is no other way in this page.

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else if (key === "value" || key === "checked" || key === "disabled" || key === "selected") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

let ids = 0;

export const newId = (stem) => `${stem}-${++ids}`;

// A labelled control.
export function field(label, control, hint) {
  control.id ||= newId("field");
  const told = hint && el("span", { class: "hint", id: newId("hint") }, hint);
  if (told) control.setAttribute("aria-describedby", told.id);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, told);
}

export function choice(options, value, attributes = {}) {
  return el(
    "select",
    attributes,
    options.map(([each, label]) => el("option", { value: each, selected: each === value }, label)),
  );
}

// A table whose rows become cards where there is little room.
export function table(caption, heads, rows, attributes = {}) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      attributes,
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((cells) => tableRow(heads, cells))),
    ),
  );
}

export function tableRow(heads, cells) {
  return el("tr", {}, cells.map((cell, at) => el("td", { "data-label": heads[at] }, cell)));
}

// Asks before something that cannot be taken back; a promise of true or false.
export function confirmed(question, detail, action) {
  return new Promise((resolve) => {
    const head = newId("ask");
    const dialog = el(
      "dialog",
      { "aria-labelledby": head, onclose: () => (dialog.remove(), resolve(dialog.returnValue === "yes")) },
      el("h2", { id: head }, question),
      el("p", {}, detail),
      el(
        "div",
        { class: "actions" },
        el("button", { type: "button", onclick: () => dialog.close("no") }, "Cancel"),
        el("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, action),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
