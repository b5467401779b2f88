// Leases: what is left of their time, and the keys that go with them.
import { ask, newName } from "../api.js";
import { encoded, member, shown } from "../bytes.js";
import { confirmed, el, field } from "../dom.js";
import { count, plural, seconds } from "../format.js";
import { empty, goodNotice, loading, problemNotice } from "../notice.js";
import { VirtualList } from "../virtual.js";

const ROW_PX = 40;
const EVERY_MS = 5000;
// So many are told with their keys; of more, whoever is looked at.
const TOLD_MAX = 50;

export function mount(host, parameters) {
  const ttl = el("input", { type: "number", min: "1", max: "86400", step: "1", value: "60", required: true });
  const out = el("div", { "aria-live": "polite" });
  const total = el("p", { class: "soft", role: "status" });
  const list = el("div", { class: "events", role: "list", "aria-label": "Leases", tabindex: "0" });
  const place = el("div", {}, loading());
  const detail = el("section", { class: "panel", hidden: true, "aria-label": "Chosen lease" });
  let ids = [];
  let told = new Map();
  let chosen = parameters.id === undefined ? null : Number(parameters.id);
  let timer = 0;
  let ticking = 0;
  let closed = false;

  const virtual = new VirtualList({
    host: list,
    rowHeight: ROW_PX,
    size: () => ids.length,
    render: (at) =>
      el(
        "div",
        { class: "row", role: "listitem" },
        el("button", { type: "button", class: "quiet link", onclick: () => choose(ids[at]) }, `Lease ${ids[at]}`),
        el("span", { class: "name soft", title: about(told.get(ids[at])) }, about(told.get(ids[at]))),
      ),
  });

  async function load() {
    clearTimeout(timer);
    try {
      ids = (await ask("GET", "/v1/leases")).leases;
      place.replaceChildren();
      if (ids.length === 0) place.append(empty("No leases. Locks, elections and sessions of services stand on them."));
      await Promise.all(ids.slice(0, TOLD_MAX).map(learn));
      told = new Map([...told].filter(([id]) => ids.includes(id)));
      list.hidden = ids.length === 0;
      total.textContent = ids.length ? plural(ids.length, "lease") : "";
      virtual.refresh();
    } catch (failed) {
      if (failed.status !== 401) place.replaceChildren(problemNotice(failed));
    }
    if (!closed) timer = setTimeout(load, EVERY_MS);
  }

  async function learn(id) {
    try {
      told.set(id, await ask("GET", `/v1/leases/${id}`));
    } catch {
      told.delete(id); // it has ended since; or what hinders, hinders the list as well
    }
  }

  function about(lease) {
    if (lease === undefined) return "";
    const [first] = lease.keys;
    const more = lease.keys.length > 1 ? ` and ${lease.keys.length - 1} more` : "";
    const keys = first === undefined ? "no keys" : shown(member(first, "key")) + more;
    return `${seconds(lease.ttl_seconds)}, ${keys}`;
  }

  async function choose(id) {
    chosen = id;
    clearInterval(ticking);
    detail.hidden = false;
    try {
      show(await ask("GET", `/v1/leases/${id}`));
    } catch (failed) {
      detail.replaceChildren(problemNotice(failed));
    }
  }

  function show(lease) {
    const until = performance.now() + lease.remaining_seconds * 1000;
    const left = el("dd");
    const bar = el("progress", { max: String(lease.ttl_seconds), value: lease.remaining_seconds, "aria-label": "Time left" });
    const tick = () => {
      const now = Math.max(0, (until - performance.now()) / 1000);
      left.textContent = now > 0 ? seconds(Math.ceil(now)) : "over, unless it was kept alive";
      bar.value = now;
      if (now <= 0) clearInterval(ticking);
    };
    ticking = setInterval(tick, 1000);
    tick();
    detail.replaceChildren(
      el("h2", {}, `Lease ${lease.id}`),
      el(
        "dl",
        { class: "facts" },
        el("div", {}, el("dt", {}, "Time to live"), el("dd", {}, seconds(lease.ttl_seconds))),
        el("div", {}, el("dt", {}, "Left"), left),
        el("div", {}, el("dt", {}, "Keys"), el("dd", {}, count(lease.keys.length))),
      ),
      bar,
      el(
        "ul",
        { class: "keys" },
        lease.keys.slice(0, 200).map((body) => {
          const key = member(body, "key");
          return el("li", {}, el("a", { href: `#/keys?key=${encoded(key)}` }, shown(key)));
        }),
      ),
      el(
        "div",
        { class: "actions" },
        el("button", { type: "button", class: "main", onclick: () => keep(lease.id) }, "Keep alive"),
        el("button", { type: "button", class: "danger", onclick: () => revoke(lease) }, "Revoke"),
      ),
    );
  }

  async function tried(work, words) {
    try {
      const answer = await work();
      out.replaceChildren(goodNotice(words(answer)));
      return answer;
    } catch (failed) {
      out.replaceChildren(problemNotice(failed, { write: true }));
      return null;
    }
  }

  async function grant(event) {
    event.preventDefault();
    const json = { ttl_seconds: Number(ttl.value) };
    const headers = { "Idempotency-Key": newName() };
    const lease = await tried(() => ask("POST", "/v1/leases", { json, headers }), (each) => `Granted lease ${each.id}`);
    if (lease) {
      await load();
      await choose(lease.id);
    }
  }

  async function keep(id) {
    const words = (each) => `Lease ${id} has its ${seconds(each.ttl_seconds)} again`;
    if (await tried(() => ask("POST", `/v1/leases/${id}/keepalive`), words)) await choose(id);
  }

  async function revoke(lease) {
    const detailed = `${plural(lease.keys.length, "key")} will be deleted with it.`;
    if (!(await confirmed(`Revoke lease ${lease.id}?`, detailed, "Revoke"))) return;
    const headers = { "Idempotency-Key": newName() };
    const words = (each) => `Revoked lease ${each.id}; ${plural(each.deleted, "key")} deleted`;
    if (await tried(() => ask("DELETE", `/v1/leases/${lease.id}`, { headers }), words)) {
      clearInterval(ticking);
      detail.hidden = true;
      await load();
    }
  }

  host.append(
    el(
      "form",
      { class: "toolbar", onsubmit: grant },
      field("Seconds to live", ttl),
      el("button", { class: "main" }, "Grant a lease"),
    ),
    out,
    total,
    el("div", { class: "split" }, el("div", { class: "side" }, place, list), detail),
  );
  list.hidden = true;
  load();
  if (chosen !== null) choose(chosen);
  return () => {
    closed = true;
    clearTimeout(timer);
    clearInterval(ticking);
    virtual.close();
  };
}
