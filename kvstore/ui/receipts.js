// Receipts of this tab's own writes at level one, the newest first; kept over a reload.
const KEPT = "kvstore.receipts";
const KEPT_MAX = 100;

let kept = [];
try {
  kept = JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
  if (!Array.isArray(kept) || !kept.every((each) => typeof each?.id === "string")) kept = [];
} catch {
  kept = [];
}

export const receipts = () => kept;

// `what`: in words. `id`: of the receipt.
export function noteReceipt(id, what) {
  kept = [{ id, what, at: Date.now() }, ...kept.filter((each) => each.id !== id)].slice(0, KEPT_MAX);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    // For as long as the page is open, then.
  }
}
