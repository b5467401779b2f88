// Keys: a tree on one side, the chosen key on the other.
import { decoded, encoded, fromText, shown, textOf } from "../bytes.js";
import { choice, el, field } from "../dom.js";
import { editor } from "../editor.js";
import { count } from "../format.js";
import { loading, problemNotice } from "../notice.js";
import { recordPanel } from "../record.js";
import { Folder, Tree } from "../tree.js";
import { VirtualList } from "../virtual.js";

const ROW_PX = 32;

export function mount(host, parameters) {
  const start = parameters.prefix === undefined ? "" : decoded(parameters.prefix);
  const prefix = el("input", {
    value: textOf(start) ?? "",
    placeholder: "all keys",
    spellcheck: "false",
    autocapitalize: "none",
    type: "search",
  });
  const level = choice([["quorum", "Quorum"], ["one", "One"]], "quorum");
  const total = el("span", { class: "soft", role: "status" });
  const list = el("div", { class: "tree", role: "tree", tabindex: "0", "aria-label": "Keys" });
  const trouble = el("div");
  const detail = el("section", { class: "detail", "aria-label": "Chosen key" });
  const split = el("div", { class: "split" });
  let tree = null;
  let active = 0;
  let chosen = null;
  let closeDetail = () => {};

  const virtual = new VirtualList({
    host: list,
    rowHeight: ROW_PX,
    size: () => tree?.rows.length ?? 0,
    render: (at) => row(at),
  });

  function row(at) {
    const { item, folder, depth } = tree.rows[at];
    const id = `row-${at}`;
    const common = { id, role: "treeitem", "aria-level": String(depth + 1), class: "row" };
    let made;
    if (item === null) {
      queueMicrotask(() => folder.error || tree.more(folder));
      made = el("div", { ...common, class: "row soft" }, folder.error ? folder.error.message : "Loading…");
    } else if (item instanceof Folder) {
      tree.wantCount(item);
      const label = shown(item.prefix.slice(folder.base));
      made = el(
        "div",
        { ...common, "aria-expanded": String(item.open), onclick: () => act(at), class: "row folder" },
        el("span", { class: "twist", "aria-hidden": "true" }, item.open ? "▾" : "▸"),
        el("span", { class: "name" }, label),
        item.count !== null && el("span", { class: "count" }, count(item.count)),
      );
    } else {
      const label = shown(item.key.slice(folder.base)) || shown(item.key);
      const selected = item.key === chosen;
      made = el(
        "div",
        { ...common, "aria-selected": String(selected), onclick: () => act(at), title: shown(item.key) },
        el("span", { class: "twist" }),
        el("span", { class: "name" }, label),
      );
    }
    made.style.paddingInlineStart = `${8 + Math.min(depth, 12) * 16}px`;
    if (at === active) made.classList.add("active");
    return made;
  }

  function act(at) {
    active = at;
    const { item, folder } = tree.rows[at];
    if (item === null) {
      if (folder.error) tree.more(folder);
    } else if (item instanceof Folder) tree.toggle(item);
    else open(item.key);
    drawn();
  }

  function drawn() {
    active = Math.max(0, Math.min(active, tree.rows.length - 1));
    virtual.refresh();
    if (tree.rows.length > 0) list.setAttribute("aria-activedescendant", `row-${active}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function moveTo(at) {
    active = Math.max(0, Math.min(at, tree.rows.length - 1));
    virtual.show(active);
    drawn();
  }

  list.addEventListener("keydown", (event) => {
    if (!tree || tree.rows.length === 0) return;
    const { item, folder } = tree.rows[active];
    const page = Math.max(1, Math.floor(list.clientHeight / ROW_PX) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) moveTo(active + moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") act(active);
    else if (event.key === "ArrowRight" && item instanceof Folder) item.open ? moveTo(active + 1) : act(active);
    else if (event.key === "ArrowLeft") {
      if (item instanceof Folder && item.open) act(active);
      else moveTo(tree.rows.findIndex((each) => each.item === folder));
    } else return;
    event.preventDefault();
  });

  function show() {
    const { root } = tree;
    trouble.replaceChildren();
    if (root.error) {
      const again = () => tree.more(root);
      const atOne = () => ((level.value = "one"), load());
      const actions = [el("button", { type: "button", onclick: again }, "Try again")];
      if (root.error.status === 503) actions.push(el("button", { type: "button", onclick: atOne }, "Read at level one"));
      trouble.append(problemNotice(root.error, { actions }));
    }
    const none = root.done && root.items.length === 0;
    list.hidden = none || (root.error !== null && root.items.length === 0);
    if (none) {
      const what = root.prefix ? `No key begins with ${shown(root.prefix)}.` : "There are no keys yet.";
      trouble.append(el("p", { class: "empty" }, what));
    }
    total.textContent = root.count === null ? "" : `${count(root.count)} ${root.count === 1 ? "key" : "keys"}`;
    drawn();
  }

  function load() {
    tree?.close();
    tree = new Tree(fromText(prefix.value), level.value, () => later());
    active = 0;
    list.scrollTop = 0;
    tree.more(tree.root);
  }

  let frame = 0;
  function later() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      show();
    });
  }

  // -- the other side

  function open(key, { notice = null } = {}) {
    chosen = key;
    history.replaceState(null, "", `#/keys?prefix=${encoded(fromText(prefix.value))}&key=${encoded(key)}`);
    closeDetail();
    split.classList.add("has-detail");
    const { panel, close } = recordPanel(key, { level: level.value, notice, gone: load, back, changed: load, open });
    closeDetail = close;
    detail.replaceChildren(panel);
    if (tree) drawn();
  }

  function back() {
    chosen = null;
    closeDetail();
    closeDetail = () => {};
    split.classList.remove("has-detail");
    detail.replaceChildren(nothing());
    history.replaceState(null, "", `#/keys?prefix=${encoded(fromText(prefix.value))}`);
    if (tree) drawn();
    list.focus();
  }

  function create() {
    chosen = null;
    closeDetail();
    closeDetail = () => {};
    split.classList.add("has-detail");
    const form = editor({
      record: null,
      prefix: fromText(prefix.value),
      written: (key, _answer, notice) => (load(), open(key, { notice })),
      cancelled: back,
    });
    detail.replaceChildren(el("h2", {}, "New key"), form);
    form.querySelector("input").focus();
  }

  const nothing = () => el("p", { class: "empty" }, "Choose a key to see its value.");

  const asked = el(
    "form",
    {
      class: "toolbar",
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        back();
        load();
      },
    },
    field("Prefix", prefix),
    field("Read at level", level),
    el("button", {}, "Show"),
    el("button", { type: "button", class: "main", onclick: create }, "New key"),
    total,
  );
  level.addEventListener("change", load);
  host.append(asked, split);
  split.append(el("div", { class: "side" }, trouble, list), detail);
  detail.append(nothing());
  trouble.append(loading());
  load();
  if (parameters.key !== undefined) open(decoded(parameters.key));
  return () => {
    tree?.close();
    virtual.close();
    closeDetail();
    cancelAnimationFrame(frame);
  };
}

