// Puts the page together: navigation, the state of the cluster in the head, login, and one view at a time.
import { ask, onUnauthenticated } from "./api.js";
import { el } from "./dom.js";
import { follow, live, lookNow } from "./live.js";
import { askLogin } from "./login.js";
import { problemNotice } from "./notice.js";
import { session } from "./session.js";
import { setUpTheme } from "./theme.js";
import * as activity from "./views/activity.js";
import * as keys from "./views/keys.js";
import * as leases from "./views/leases.js";
import * as odds from "./views/odds.js";
import * as overview from "./views/overview.js";
import * as receipts from "./views/receipts.js";
import * as reports from "./views/reports.js";
import * as watch from "./views/watch.js";

const VIEWS = [
  ["", "Overview", overview],
  ["activity", "Activity", activity],
  ["keys", "Keys", keys],
  ["watch", "Watch", watch],
  ["receipts", "Receipts", receipts],
  ["leases", "Leases", leases],
  ["odds", "Odds", odds],
  ["reports", "Reports", reports],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const status = document.getElementById("status");
const who = document.getElementById("who");

let close = () => {};
let shown = null;

for (const [path, label] of VIEWS) nav.append(el("a", { href: `#/${path}` }, label));

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const found = VIEWS.find(([each]) => each === path) ?? VIEWS[0];
  const parameters = Object.fromEntries((query ?? "").split("&").filter(Boolean).map((part) => part.split("=")));
  close();
  main.replaceChildren();
  for (const link of nav.children) {
    const current = link.getAttribute("href") === `#/${found[0]}`;
    if (current) {
      link.setAttribute("aria-current", "page");
      const [left, right] = [link.offsetLeft, link.offsetLeft + link.offsetWidth];
      if (left < nav.scrollLeft || right > nav.scrollLeft + nav.clientWidth) nav.scrollLeft = left - 24;
    } else link.removeAttribute("aria-current");
  }
  document.title = `${found[1]} · kvstore`;
  const head = el("h1", { tabindex: "-1" }, found[1]);
  main.append(head);
  if (shown !== null) head.focus({ preventScroll: true });
  shown = found[0];
  scrollTo(0, 0);
  try {
    close = found[2].mount(main, parameters) ?? (() => {});
  } catch (failed) {
    main.append(problemNotice(failed));
    throw failed;
  }
}

function showStatus() {
  const { cluster, clusterError } = live;
  const [kind, text] = clusterError
    ? clusterError.status === 401
      ? ["open", "Not logged in"]
      : ["bad", clusterError.status ? `Error ${clusterError.status}` : "No answer"]
    : cluster
      ? overview.health(cluster)
      : ["open", "Connecting"];
  if (status.textContent !== text) status.textContent = text;
  status.className = `pill ${kind}`;
}

async function showWho() {
  who.hidden = session.user === null;
  who.textContent = session.user === null ? "" : `Log out ${session.user}`;
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
who.addEventListener("click", () => {
  session.logout();
});
onUnauthenticated(askLogin);
session.onChange(() => {
  showWho();
  route();
  lookNow();
  if (session.user === null) askIfNeeded();
});

async function askIfNeeded() {
  try {
    await ask("GET", "/v1/auth");
  } catch {
    // 401 has opened the dialog already; anything else the views tell.
  }
}

setUpTheme(document.getElementById("theme"));
follow(showStatus);
showStatus();
showWho();
addEventListener("hashchange", route);
route();
lookNow();
