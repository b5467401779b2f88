// The cluster at a glance.
import { el, table } from "../dom.js";
import { count, plural, seconds } from "../format.js";
import { follow, live } from "../live.js";
import { empty, loading, problemNotice } from "../notice.js";

// [kind, words]
export function health(cluster) {
  const voters = cluster.members.filter((member) => member.voter);
  const away = cluster.members.filter((member) => !member.reachable);
  if (cluster.leader === null) return ["bad", "No leader"];
  if (cluster.alarms.length > 0) return ["bad", plural(cluster.alarms.length, "alarm")];
  if (away.length > 0) return ["open", `${voters.filter((each) => each.reachable).length} of ${voters.length} up`];
  return ["good", "Healthy"];
}

const HEADS = ["Member", "Role", "Applied", "Behind", "Level-one writes waiting", "Address"];

export function mount(host) {
  const body = el("div", {}, loading());
  host.append(body);

  function show() {
    const { cluster, clusterError, samples } = live;
    if (!cluster) {
      if (clusterError && clusterError.status !== 401) body.replaceChildren(problemNotice(clusterError));
      else if (clusterError) body.replaceChildren(empty("Log in to see the cluster."));
      return;
    }
    const focused = document.activeElement?.closest?.(".scroll") && body.contains(document.activeElement);
    body.replaceChildren(
      ...[
        ...(clusterError ? silence(clusterError, cluster) : [summary(cluster), alarms(cluster)]),
        tiles(cluster, samples[samples.length - 1]),
        el("h2", {}, "Members"),
        table("Members", HEADS, cluster.members.map((member) => row(member, cluster)), { class: "members" }),
        el(
          "p",
          { class: "soft" },
          `As ${cluster.node} sees it, which serves this page. Cluster ${cluster.cluster_id}.`,
        ),
      ].filter(Boolean),
    );
    if (focused) body.querySelector(".scroll")?.focus({ preventScroll: true });
  }

  show();
  return follow(show);
}

// Instead of a summary that may be true no longer: what is known to be wrong, and whose pages may know more.
function silence(failed, cluster) {
  const others = cluster.members.filter((member) => member.name !== cluster.node && page(member));
  const links = others.map((member) => el("a", { href: page(member), rel: "noreferrer" }, `Page of ${member.name}`));
  return [
    problemNotice(failed, { actions: links }),
    el("p", { class: "soft" }, `What follows is how it was when ${cluster.node} last answered.`),
  ];
}

function summary(cluster) {
  const voters = cluster.members.filter((member) => member.voter);
  const up = voters.filter((member) => member.reachable).length;
  const majority = Math.floor(voters.length / 2) + 1;
  const [kind, words] = health(cluster);
  const spare = up - majority;
  const says = [];
  if (cluster.leader === null) says.push("No leader is known: level one goes on here, for reads and writes; all else waits, or is refused.");
  else says.push(`${cluster.leader} leads.`);
  says.push(`${up} of ${voters.length} voters can be reached, ${majority} are needed.`);
  if (cluster.leader !== null) {
    says.push(spare > 0 ? `${plural(spare, "more")} may fail.`.replace("mores", "more") : "No other one may fail.");
  }
  if (voters.length % 2 === 0) says.push("An even number of voters survives no more than one voter less.");
  return el("div", { class: `banner ${kind}` }, el("strong", {}, words), el("span", {}, says.join(" ")));
}

function alarms(cluster) {
  if (cluster.alarms.length === 0) return null;
  return el(
    "section",
    { class: "alarms", "aria-label": "Alarms" },
    cluster.alarms.map((alarm) =>
      el(
        "div",
        { class: "notice bad" },
        el("strong", {}, `${alarm.code.replaceAll("_", " ")} · ${alarm.node}`),
        el("p", {}, alarm.detail),
      ),
    ),
  );
}

function tiles(cluster, sample) {
  const changes = sample?.total("kv_raft_leader_changes_total") ?? null;
  const keys = sample?.total("kv_store_keys") ?? null;
  const staleness = sample?.total("kv_staleness_seconds") ?? null;
  const facts = [
    ["Leader", cluster.leader ?? "none"],
    ["Term", count(cluster.term)],
    ["Commit index", count(cluster.commit_index)],
    ["Revision", count(cluster.revision)],
    ["Keys", count(keys)],
    ["Leader changes", count(changes), "seen by this node since it started"],
    ["Staleness", seconds(staleness), "how old what this node has applied may be"],
    ["Alarms", count(cluster.alarms.length)],
  ];
  return el(
    "dl",
    { class: "tiles" },
    facts.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value))),
  );
}

function row(member, cluster) {
  const behind = member.applied_index === null ? null : Math.max(0, cluster.commit_index - member.applied_index);
  const role = !member.reachable ? "away" : member.name === cluster.leader ? "leader" : member.role;
  return [
    el(
      "span",
      { class: "member" },
      el("span", { class: `dot ${member.reachable ? "good" : "bad"}`, "aria-hidden": "true" }),
      el("strong", {}, member.name),
      member.name === cluster.node && el("span", { class: "soft" }, " this node"),
    ),
    el("span", {}, el("span", { class: `tag ${role}` }, member.reachable ? role : "unreachable"), member.voter ? "" : " learner"),
    count(member.applied_index),
    behind === null ? "–" : behind === 0 ? "0" : plural(behind, "entry", "entries"),
    count(member.intents_pending),
    address(member, cluster),
  ];
}

function address(member, cluster) {
  const at = page(member);
  if (at === null) return member.peer;
  return member.name === cluster.node ? member.http : el("a", { href: at, rel: "noreferrer" }, member.http);
}

// Told by the members, and a link only if it is one.
function page(member) {
  return member.http && /^https?:\/\/[^/\s]+$/.test(member.http) ? `${member.http}/ui` : null;
}
