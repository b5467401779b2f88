// A live watch: changes as they come, the newest first, ten thousand of them at most.
import { decoded, fromBase64, fromText, encoded, member, shown, textOf } from "../bytes.js";
import { choice, el, field } from "../dom.js";
import { clock, count } from "../format.js";
import { watch } from "../kv.js";
import { problemNotice } from "../notice.js";
import { readEvents } from "../sse.js";
import { VirtualList } from "../virtual.js";

const EVENTS_MAX = 10_000;
const ROW_PX = 32;
const PREVIEW_BYTES = 200;
const AGAIN_MS = 1000;

export function mount(host, parameters) {
  const onKey = parameters.key !== undefined;
  const given = decoded(parameters.key ?? parameters.prefix ?? "");
  const kind = choice([["prefix", "Keys with the prefix"], ["key", "One key"]], onKey ? "key" : "prefix");
  const what = el("input", { value: textOf(given) ?? "", placeholder: "all keys", spellcheck: "false", autocapitalize: "none" });
  const from = el("input", { inputmode: "numeric", pattern: "[0-9]*", placeholder: "now" });
  const state = el("p", { class: "state", role: "status" }, "Not watching.");
  const trouble = el("div");
  const button = el("button", { class: "main" }, "Watch");
  const list = el("div", { class: "events", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Changes" });
  const none = el("p", { class: "empty" }, "Changes appear here as they happen.");

  // A ring: `first` is the place of the oldest.
  const ring = [];
  let first = 0;
  let total = 0;
  let shownTotal = 0;
  let aborting = null;
  let frame = 0;
  let timer = 0;

  const at = (place) => ring[(first + ring.length - 1 - place) % ring.length];
  const virtual = new VirtualList({ host: list, rowHeight: ROW_PX, size: () => ring.length, render: (place) => row(at(place)) });

  function row(change) {
    return el(
      "div",
      { class: "row event" },
      el("span", { class: "revision" }, count(change.revision)),
      el("span", { class: `tag ${change.kind}` }, change.kind),
      el("a", { class: "name", href: `#/keys?key=${encoded(change.key)}` }, shown(change.key)),
      el("span", { class: "preview" }, change.preview),
      el("time", { class: "soft" }, clock(change.at)),
    );
  }

  function take(change) {
    if (ring.length < EVENTS_MAX) ring.push(change);
    else {
      ring[first] = change;
      first = (first + 1) % EVENTS_MAX;
    }
    total++;
    later();
  }

  function later() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const come = total - shownTotal;
      shownTotal = total;
      none.hidden = list.hidden = false;
      none.hidden = ring.length > 0;
      list.hidden = ring.length === 0;
      // Whoever has scrolled away keeps what is being read in place.
      if (list.scrollTop > ROW_PX) list.scrollTop += come * ROW_PX;
      virtual.refresh();
      tell();
    });
  }

  let words = "Not watching.";
  function tell(text = words) {
    words = text;
    const kept = total > EVENTS_MAX ? `, the newest ${count(EVENTS_MAX)} are kept` : "";
    const said = total ? `${text} ${count(total)} changes${kept}.` : text;
    if (state.textContent !== said) state.textContent = said;
  }

  async function run(begin) {
    aborting = new AbortController();
    const { signal } = aborting;
    let lastId = null;
    let next = begin;
    button.textContent = "Stop";
    button.classList.remove("main");
    while (!signal.aborted) {
      try {
        tell("Connecting…");
        const asked = kind.value === "key" ? { key: fromText(what.value) } : { prefix: fromText(what.value) };
        const answer = await watch({ ...asked, from: lastId ? null : next, lastId, signal });
        trouble.replaceChildren();
        tell("Watching.");
        if (!lastId) lastId = String(Number(answer.headers.get("KV-Revision")));
        await readEvents(answer, ({ id, event, data }) => {
          const body = JSON.parse(data);
          if (event === "put" || event === "delete") {
            take(changeOf(event, body));
            if (id) lastId = id;
          } else if (event === "progress") lastId = String(body.revision);
          else {
            // lagged, compacted, closed: another watch begins where this one says.
            lastId = null;
            next = body.revision;
            tell(`Ended (${event}); going on from revision ${count(next)}.`);
          }
        });
      } catch (failed) {
        if (signal.aborted) return;
        trouble.replaceChildren(problemNotice(failed));
        if (failed.code === "compacted" && failed.body.revision) {
          lastId = null;
          next = failed.body.revision;
        } else if (failed.status >= 400 && failed.status < 500 && failed.status !== 429) {
          stop();
          return;
        }
      }
      if (signal.aborted) return;
      tell("Connecting again…");
      await new Promise((resolve) => (timer = setTimeout(resolve, AGAIN_MS)));
    }
  }

  function stop() {
    aborting?.abort();
    aborting = null;
    clearTimeout(timer);
    button.textContent = "Watch";
    button.classList.add("main");
    tell("Stopped.");
  }

  function submit(event) {
    event.preventDefault();
    if (aborting) return stop();
    ring.length = first = total = shownTotal = 0;
    trouble.replaceChildren();
    list.scrollTop = 0;
    later();
    return run(from.value ? Number(from.value) : null);
  }

  host.append(
    el(
      "form",
      { class: "toolbar", onsubmit: submit },
      field("What", kind),
      field("Key or prefix", what),
      field("From revision", from),
      button,
    ),
    state,
    trouble,
    none,
    list,
  );
  list.hidden = true;
  if (onKey || parameters.prefix !== undefined) run(null);
  return () => {
    aborting?.abort();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    virtual.close();
  };
}

function changeOf(kind, body) {
  const value = kind === "put" ? fromBase64(body.value_base64) : "";
  const preview = shown(value.slice(0, PREVIEW_BYTES)) + (value.length > PREVIEW_BYTES ? "…" : "");
  return { kind, key: member(body, "key"), revision: body.mod_revision, preview, at: Date.now() };
}
