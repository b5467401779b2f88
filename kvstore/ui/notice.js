// What went wrong, or well, in words.
import { el } from "./dom.js";

const HINTS = {
  unreachable: "The page goes on trying.",
  no_leader: "The members are electing one, or a majority is away. Reads at level one go on.",
  no_quorum: "A majority of the members cannot be reached. Reads at level one go on.",
  forbidden: "Ask an administrator for a role that allows it.",
  compacted: "The history does not reach back so far.",
  overloaded: "Too much waits here already; try again in a moment.",
};

const OUTCOMES = {
  not_applied: "Nothing was changed.",
  unknown: "It is not known whether it took effect.",
  committed: "It took effect all the same.",
};

// `write`: it was meant to change something, so that its outcome matters.
export function problemNotice(failed, { write = false, actions = [] } = {}) {
  const title = failed.body?.title || (failed.code === "unreachable" ? "No answer" : failed.name || "Error");
  const missing = failed.body?.missing?.length ? ` Missing: ${failed.body.missing.join(", ")}.` : "";
  return el(
    "div",
    { class: "notice bad", role: "alert" },
    el("strong", {}, failed.status ? `${title} (${failed.status})` : title),
    el("p", {}, failed.message + missing),
    write && failed.outcome && el("p", { class: "outcome" }, OUTCOMES[failed.outcome] ?? failed.outcome),
    HINTS[failed.code] && el("p", { class: "soft" }, HINTS[failed.code]),
    actions.length > 0 && el("div", { class: "actions" }, actions),
  );
}

export function goodNotice(title, ...rest) {
  return el("div", { class: "notice good", role: "status" }, el("strong", {}, title), rest);
}

export function openNotice(title, ...rest) {
  return el("div", { class: "notice open", role: "status" }, el("strong", {}, title), rest);
}

export const empty = (...what) => el("p", { class: "empty" }, what);
export const loading = (what = "Loading…") => el("p", { class: "empty", role: "status" }, what);
