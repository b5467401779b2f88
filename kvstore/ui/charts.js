// A chart over time: uPlot with this page's colours, and its newest numbers as text beside it.
import { el, newId } from "./dom.js";
import { colour } from "./theme.js";
import uPlot from "./vendor/uPlot.js";

const HEIGHT_PX = 170;

// `series`: [{label, colour: "--name"}]; `format(number)`: for its axis and numbers.
export class Chart {
  constructor(title, about, series, format) {
    this.series = series;
    this.format = format;
    this.data = [[], ...series.map(() => [])];
    const head = newId("chart");
    this.numbers = series.map(() => el("span", { class: "number" }, "–"));
    this.legend = el(
      "ul",
      { class: "legend" },
      series.map(({ label, colour: name }, at) => {
        const mark = el("span", { class: "mark", "aria-hidden": "true" });
        mark.style.background = `var(${name})`;
        return el("li", {}, mark, el("span", {}, label), this.numbers[at]);
      }),
    );
    this.place = el("div", { class: "plot", "aria-hidden": "true" });
    this.none = el("p", { class: "plot-none" }, "Nothing yet");
    this.figure = el(
      "figure",
      { class: "chart panel", "aria-labelledby": head },
      el("figcaption", {}, el("h2", { id: head }, title), el("p", { class: "soft" }, about)),
      this.place,
      this.none,
      this.legend,
    );
    this.plot = null;
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.place);
    this.recolour = () => this.make();
    addEventListener("themechange", this.recolour);
  }

  close() {
    this.observer.disconnect();
    removeEventListener("themechange", this.recolour);
    this.plot?.destroy();
  }

  fit() {
    const width = this.place.clientWidth;
    if (!width) return;
    if (this.plot) this.plot.setSize({ width, height: HEIGHT_PX });
    else this.make();
  }

  make() {
    const width = this.place.clientWidth;
    if (!width) return;
    this.plot?.destroy();
    const ink = colour("--soft");
    const line = colour("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    this.plot = new uPlot(
      {
        width,
        height: HEIGHT_PX,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: {
          // A minute at least, so that the first points do not fill the whole width.
          x: { range: (_plot, low, high) => [Math.min(low, high - 60), high] },
          y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
        },
        axes: [
          { ...axis, space: 84, size: 34, values: (_plot, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString()) },
          { ...axis, size: 68, values: (_plot, ticks) => ticks.map((tick) => this.format(tick)) },
        ],
        series: [
          {},
          ...this.series.map(({ label, colour: name }) => ({
            label,
            stroke: colour(name),
            width: 2,
            spanGaps: false,
            points: { show: (plot) => plot.data[0].length < 3 },
          })),
        ],
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
      },
      this.data,
      this.place,
    );
  }

  // `times` in seconds since 1970; `columns`: numbers, or null where there is none.
  show(times, columns) {
    this.data = [times, ...columns.map((column) => column.map((each) => (Number.isFinite(each) ? each : null)))];
    this.none.hidden = this.data.slice(1).some((column) => column.some((each) => each !== null));
    this.plot?.setData(this.data);
    this.tell(this.plot?.cursor.idx);
  }

  tell(at) {
    const place = at ?? this.data[0].length - 1;
    this.numbers.forEach((number, which) => {
      const value = this.data[which + 1][place];
      number.textContent = value === null || value === undefined ? "–" : this.format(value);
    });
  }
}
