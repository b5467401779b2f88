// A list of which only the rows in sight are elements, however long it is. All rows are equally high.

export class VirtualList {
  // `render(at)` gives the element of a row; `size()` how many there are. `onEnd`: the last ones have come into sight.
  constructor({ host, rowHeight, size, render, onEnd = () => {} }) {
    this.host = host;
    this.rowHeight = rowHeight;
    this.size = size;
    this.render = render;
    this.onEnd = onEnd;
    this.rows = new Map();
    this.space = document.createElement("div");
    this.space.className = "virtual-space";
    this.space.setAttribute("role", "presentation");
    host.append(this.space);
    this.frame = 0;
    host.addEventListener("scroll", () => this.later(), { passive: true });
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(host);
  }

  later() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  // Rows have changed: all in sight are made anew.
  refresh() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.draw();
  }

  draw() {
    const size = this.size();
    this.space.style.height = `${size * this.rowHeight}px`;
    const first = Math.max(0, Math.floor(this.host.scrollTop / this.rowHeight) - 8);
    const last = Math.min(size, Math.ceil((this.host.scrollTop + this.host.clientHeight) / this.rowHeight) + 8);
    for (const [at, row] of this.rows) {
      if (at < first || at >= last) {
        row.remove();
        this.rows.delete(at);
      }
    }
    let before = null;
    for (let at = first; at < last; at++) {
      let row = this.rows.get(at);
      if (!row) {
        row = this.render(at);
        row.style.transform = `translateY(${at * this.rowHeight}px)`;
        this.rows.set(at, row);
        // In the order of the list: that is how it is read aloud.
        this.space.insertBefore(row, before ? before.nextSibling : this.space.firstChild);
      }
      before = row;
    }
    if (last >= size) this.onEnd();
  }

  show(at) {
    const top = at * this.rowHeight;
    if (top < this.host.scrollTop) this.host.scrollTop = top;
    else if (top + this.rowHeight > this.host.scrollTop + this.host.clientHeight) {
      this.host.scrollTop = top + this.rowHeight - this.host.clientHeight;
    }
    this.draw();
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }
}
