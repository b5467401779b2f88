// What would survive: of this cluster if some members fail, and of clusters of any size in the long run. The numbers
// are computed by the node (kvstore.availability); nothing of it is computed here.
import { ask } from "../api.js";
import { el, field, table } from "../dom.js";
import { chance, seconds } from "../format.js";
import { follow, live } from "../live.js";
import { loading, problemNotice } from "../notice.js";

const LEVELS = ["one", "quorum", "all"];

export function mount(host) {
  const nodes = el("input", { value: "1-9", pattern: "[0-9,\\-]+", required: true, spellcheck: "false" });
  const p = el("input", { value: "1", inputmode: "decimal", required: true, pattern: "[0-9]+([.][0-9]+)?" });
  const out = el("div", { "aria-live": "polite" }, loading());
  const what = el("section", { class: "panel" });
  let shownNames = "";
  let majority = null;
  const down = new Set();
  let asking = null;

  async function compute(event) {
    event?.preventDefault();
    asking?.abort();
    asking = new AbortController();
    const share = Number(p.value) / 100;
    try {
      const written = share.toFixed(12).replace(/\.?0+$/, "");
      const query = `nodes=${encodeURIComponent(nodes.value.replaceAll(" ", ""))}&p=${written}`;
      const told = await ask("GET", `/v1/odds?${query}`, { signal: asking.signal });
      out.replaceChildren(oddsTable(told.rows, votersOf().length));
    } catch (failed) {
      if (failed.name !== "AbortError") out.replaceChildren(problemNotice(failed));
    }
  }

  const votersOf = () => live.cluster?.members.filter((member) => member.voter).map((member) => member.name) ?? [];

  async function showCluster() {
    const names = votersOf();
    if (names.join() === shownNames || names.length === 0) return;
    shownNames = names.join();
    for (const name of [...down]) if (!names.includes(name)) down.delete(name);
    try {
      majority = (await ask("GET", `/v1/odds?nodes=${names.length}&p=0`)).rows[0].majority;
    } catch (failed) {
      shownNames = "";
      if (failed.status !== 401) what.replaceChildren(el("h2", {}, "This cluster"), problemNotice(failed));
      return;
    }
    const served = el("ul", { class: "served", "aria-live": "polite" });
    const tell = () => {
      const up = names.length - down.size;
      const needed = { one: 1, quorum: majority, all: names.length };
      served.replaceChildren(
        ...LEVELS.map((level) => {
          const serves = up >= needed[level];
          return el(
            "li",
            { class: serves ? "good" : "bad" },
            el("strong", {}, `${level} `),
            serves ? "is served" : "is not served",
            el("span", { class: "soft" }, ` – needs ${needed[level]} of ${names.length}, ${up} up`),
          );
        }),
      );
    };
    const boxes = names.map((name) => {
      const box = el("input", {
        type: "checkbox",
        checked: down.has(name),
        onchange: () => (box.checked ? down.add(name) : down.delete(name), tell()),
      });
      return el("label", { class: "check" }, box, `${name} fails`);
    });
    what.replaceChildren(
      el("h2", {}, "This cluster"),
      el("p", { class: "soft" }, "Nothing happens to any node: mark those that are to be imagined as lost."),
      el("fieldset", { class: "checks" }, el("legend", {}, "Members that fail"), boxes),
      served,
    );
    tell();
  }

  host.append(
    what,
    el("h2", {}, "In the long run"),
    el(
      "p",
      { class: "lead" },
      "How likely a cluster of n nodes serves each level, while every node is down for some share of the time, ",
      "independently of the others, and clients try every node.",
    ),
    el(
      "form",
      { class: "toolbar", onsubmit: compute },
      field("Numbers of nodes", nodes),
      field("Down, % of the time", p),
      el("button", { class: "main" }, "Compute"),
    ),
    out,
  );
  what.append(el("h2", {}, "This cluster"), loading());
  showCluster();
  compute();
  const stop = follow(showCluster);
  return () => {
    stop();
    asking?.abort();
  };
}

function oddsTable(rows, voters) {
  const heads = ["Nodes", "Majority", "One", "Quorum", "All", "Quorum down a year", "Usual formula"];
  const cells = rows.map((row) => [
    el("span", {}, String(row.n), " ", row.n === voters && el("span", { class: "tag leader" }, "this cluster")),
    String(row.majority),
    ...LEVELS.map((level) => chance(row.nines[level])),
    seconds(row.downtime_s_per_year.quorum),
    row.even_warning
      ? el("span", { class: "warn" }, `${chance(row.nines.documented)} – too high`)
      : chance(row.nines.documented),
  ]);
  return el(
    "div",
    {},
    table("Odds", heads, cells),
    el(
      "p",
      { class: "soft" },
      "The usual formula asks that no majority fails, Raft that a majority is alive. For an even number of nodes these ",
      "are not the same: an even cluster survives no more failures than one with a node less.",
    ),
  );
}
