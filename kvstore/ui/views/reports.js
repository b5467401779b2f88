// Reports of the harness that lie in this node's directory of reports. One is shown in a frame that has no origin.
import { ask, request } from "../api.js";
import { el } from "../dom.js";
import { bytes, plural, time } from "../format.js";
import { empty, loading, problemNotice } from "../notice.js";

const KINDS = { chaos: "Faults", odds: "Odds" };
const GOOD = new Set(["passed", "confirmed"]);
const BAD = new Set(["failed", "refuted"]);

export function mount(host) {
  const out = el("div", {}, loading());
  host.append(
    el("p", { class: "lead" }, "Runs of the fault-injection harness, and trials of the odds, that this node can show."),
    out,
  );
  let close = () => {};

  async function load() {
    close();
    try {
      const told = await ask("GET", "/v1/reports");
      if (!told.configured) {
        const how = el("code", {}, "KV_UI_REPORTS_DIR=DIR kv cluster up");
        const alone = el("code", {}, "kv serve --ui-reports-dir DIR");
        out.replaceChildren(
          empty("This node has no directory of reports. Started with one, it shows them here: ", how, " or ", alone, "."),
        );
      } else if (told.reports.length === 0) {
        out.replaceChildren(empty("The directory holds no report yet. ", el("code", {}, "kv chaos run --out DIR/NAME"), " makes one."));
      } else {
        out.replaceChildren(
          el("p", { class: "soft" }, plural(told.reports.length, "report")),
          el("ul", { class: "gallery" }, told.reports.map(card)),
        );
      }
    } catch (failed) {
      if (failed.status !== 401) out.replaceChildren(problemNotice(failed));
    }
  }

  function card(report) {
    const kind = GOOD.has(report.verdict) ? "good" : BAD.has(report.verdict) ? "bad" : "open";
    return el(
      "li",
      { class: "panel" },
      el(
        "div",
        { class: "card-head" },
        el("span", { class: `pill ${kind}` }, report.verdict ?? "no verdict"),
        el("span", { class: "soft" }, KINDS[report.kind] ?? report.kind),
      ),
      el("h2", {}, report.folder || report.page),
      el("p", { class: "title" }, report.title),
      el("p", { class: "soft" }, `${time(report.time_ms)} · ${bytes(report.size_bytes)}`),
      el(
        "button",
        { type: "button", onclick: () => open(report), "aria-label": `Open ${report.folder || report.page}` },
        "Open",
      ),
    );
  }

  async function open(report) {
    const path = report.folder ? `${report.folder}/${report.page}` : report.page;
    const back = el("button", { type: "button", onclick: load }, "‹ All reports");
    const place = el("div", {}, loading());
    out.replaceChildren(el("div", { class: "actions" }, back), el("h2", {}, report.folder || report.page), place);
    back.focus();
    try {
      const answer = await request("GET", `/v1/reports/${path.split("/").map(encodeURIComponent).join("/")}`);
      const text = await answer.text();
      // The frame has an origin of its own: it says when it is ready, and gets nothing but the report.
      const frame = el("iframe", { class: "report", src: "/ui/frame.html", sandbox: "allow-scripts", title: "Report" });
      const send = (event) => {
        if (event.source !== frame.contentWindow || event.data !== "ready") return;
        close();
        frame.contentWindow.postMessage(text, "*");
      };
      addEventListener("message", send);
      close = () => removeEventListener("message", send);
      place.replaceChildren(frame);
    } catch (failed) {
      place.replaceChildren(problemNotice(failed));
    }
  }

  load();
  return () => close();
}
