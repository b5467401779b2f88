// A write, from the button to an honest word about what came of it.
import { newName } from "./api.js";
import { shown } from "./bytes.js";
import { el } from "./dom.js";
import { goodNotice, loading, openNotice, problemNotice } from "./notice.js";
import { noteReceipt } from "./receipts.js";

// `send(name)` sends it, `what` says it in words. What came of it is put into `out`; returns the answer, or null.
export async function carryOut(out, what, send, { name = newName() } = {}) {
  out.replaceChildren(loading("Waiting for the answer…"));
  try {
    const answer = await send(name);
    out.replaceChildren(told(answer, what));
    return answer;
  } catch (failed) {
    const actions = [];
    if (failed.outcome === "unknown") {
      // Under its name it is carried out once, however often it is sent.
      const again = () => carryOut(out, what, send, { name });
      actions.push(el("button", { type: "button", onclick: again }, "Send again under the same name"));
    }
    out.replaceChildren(problemNotice(failed, { write: true, actions }));
    return null;
  }
}

function told(answer, what) {
  if (answer.outcome === "pending") {
    noteReceipt(answer.receipt, what);
    return openNotice(
      "Pending",
      el("p", {}, "This node has it on its disk and hands it over. It is not committed yet."),
      el("p", {}, "Receipt ", el("a", { href: `#/receipts?id=${encodeURIComponent(answer.receipt)}` }, answer.receipt)),
    );
  }
  return goodNotice(
    "Committed",
    el(
      "p",
      {},
      `${what}: revision ${answer.revision}, at level ${answer.level}; ${answer.acked} members have it, ` +
        `${answer.required} had to.`,
    ),
  );
}

export const putWords = (key) => `Put ${shown(key)}`;
export const deleteWords = (key) => `Deleted ${shown(key)}`;
