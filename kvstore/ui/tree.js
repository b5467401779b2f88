// The keys as a tree of folders at `/`, loaded level by level and page by page: what is not looked at is not asked for.
// A folder is skipped by beginning behind its last key, so that its size does not matter.
import { prefixEnd } from "./bytes.js";
import { countOf, page } from "./kv.js";

const PAGE = 300;
const ROUND_ITEMS_MIN = 100;
const ROUNDS_MAX = 60;
const COUNTS_AT_ONCE = 2;

export class Folder {
  constructor(prefix, depth) {
    this.prefix = prefix;
    // Names are shown from behind the last slash: a prefix may end within one.
    this.base = prefix.lastIndexOf("/") + 1;
    this.depth = depth;
    this.open = false;
    this.items = [];
    this.next = prefix;
    this.done = false;
    this.loading = false;
    this.error = null;
    this.count = null;
  }
}

export class Tree {
  constructor(prefix, level, changed) {
    this.level = level;
    this.changed = changed;
    this.aborting = new AbortController();
    this.root = new Folder(prefix, -1);
    this.root.open = true;
    this.rows = [];
    this.counting = [];
    this.countingNow = 0;
  }

  close() {
    this.aborting.abort();
  }

  toggle(folder, open = !folder.open) {
    folder.open = open;
    if (open && folder.items.length === 0 && !folder.done) this.more(folder);
    this.flatten();
  }

  // Loads the next items of a folder.
  async more(folder) {
    if (folder.loading || folder.done) return;
    folder.loading = true;
    folder.error = null;
    this.flatten();
    try {
      let found = 0;
      for (let round = 0; round < ROUNDS_MAX && found < ROUND_ITEMS_MIN && !folder.done; round++) {
        found += await this.page(folder);
      }
    } catch (failed) {
      if (failed.name === "AbortError") return;
      folder.error = failed;
    }
    folder.loading = false;
    this.flatten();
  }

  async page(folder) {
    const { prefix, items } = folder;
    const first = folder.next === prefix;
    const told = await page(folder.next, prefixEnd(prefix), {
      level: this.level,
      limit: PAGE,
      signal: this.aborting.signal,
    });
    if (first) folder.count = told.count;
    const before = items.length;
    for (const record of told.records) {
      const slash = record.key.indexOf("/", prefix.length);
      if (slash < 0) items.push(record);
      else {
        const inner = record.key.slice(0, slash + 1);
        if (items[items.length - 1]?.prefix !== inner) items.push(new Folder(inner, folder.depth + 1));
      }
    }
    const last = items[items.length - 1];
    if (told.cursor === null || last === undefined) folder.done = true;
    else {
      folder.next = last instanceof Folder ? prefixEnd(last.prefix) : `${last.key}\0`;
      if (folder.next === "") folder.done = true;
    }
    return items.length - before;
  }

  // What is to be shown: {item, depth, folder} in order; `more` where something is still to be loaded.
  flatten() {
    const rows = [];
    const walk = (folder) => {
      for (const item of folder.items) {
        rows.push({ item, folder, depth: folder.depth + 1 });
        if (item instanceof Folder && item.open) walk(item);
      }
      if (folder.loading || folder.error || !folder.done) rows.push({ item: null, folder, depth: folder.depth + 1 });
    };
    walk(this.root);
    this.rows = rows;
    this.changed();
  }

  // How many keys a folder has, asked for when it comes into sight.
  wantCount(folder) {
    if (folder.count !== null || folder.counted) return;
    folder.counted = true;
    this.counting.push(folder);
    this.countNext();
  }

  async countNext() {
    while (this.countingNow < COUNTS_AT_ONCE && this.counting.length > 0) {
      const folder = this.counting.pop();
      this.countingNow++;
      countOf(folder.prefix, { level: this.level, signal: this.aborting.signal })
        .then((count) => {
          folder.count = count;
          this.changed();
        })
        .catch(() => {
          // Only a number beside a name: it is left out.
        })
        .finally(() => {
          this.countingNow--;
          this.countNext();
        });
    }
  }
}
