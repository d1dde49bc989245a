// Charts over the last ten minutes: lines in SVG, with a cursor for mouse, finger and keyboard. A chart is a slider over time
// for screen readers, whose value is a sentence.

const HEIGHT = 150;
const BOTTOM = 18;
const TOP = 8;
/** Room for the texts of the axis. */
const LEFT = 52;
const SVG = "http://www.w3.org/2000/svg";

/** The longest time shown, in seconds, and the shortest one. */
export const SPAN = 600;
const SPAN_MIN = 60;

/** A number that is easy to read and not below `value`. */
function ceiling(value, step = 10) {
  if (!(value > 0)) return 1;
  const power = step ** Math.floor(Math.log(value) / Math.log(step));
  const steps = step === 2 ? [1, 1.5, 2] : [1, 2, 4, 5, 8, 10];
  return power * steps.find((times) => times * power >= value * (1 - 1e-9));
}

/** Sets a text only where it changes, so that nothing is laid out again without a reason. */
export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class Chart {
  #times;
  #spec;
  #plot;
  #svg;
  #grid;
  #cursor;
  #values = [];
  #paths = [];
  /** The number of points back in time; 0 is now. */
  #back = 0;
  #width = 0;

  /**
   * @param times The times of all points, which all charts share.
   * @param spec `title`, `show` for a value, `series` with `name` and `points`, and perhaps `floor`, the smallest top of the
   *   axis, `bytes` or `log`.
   */
  constructor(times, spec) {
    this.#times = times;
    this.#spec = spec;
    const figure = document.querySelector("#chart").content.firstElementChild.cloneNode(true);
    set(figure.querySelector("h3"), spec.title);
    this.figure = figure;
    this.#plot = figure.querySelector(".plot");
    this.#svg = figure.querySelector("svg");
    this.#grid = figure.querySelector(".grid");
    this.#cursor = figure.querySelector(".cursor");
    this.#plot.setAttribute("aria-label", `${spec.title} over time`);
    for (const [index, { name }] of spec.series.entries()) {
      const item = figure.querySelector(".legend").appendChild(document.createElement("li"));
      item.className = `series-${index}`;
      item.append(`${name} `);
      this.#values.push(item.appendChild(document.createElement("b")));
      const path = this.#svg.querySelector(".lines").appendChild(document.createElementNS(SVG, "path"));
      path.setAttribute("class", `series-${index}`);
      this.#paths.push(path);
    }
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = contentRect.width;
      this.draw();
    }).observe(this.#plot);
    this.#listen();
  }

  #listen() {
    const plot = this.#plot;
    const point = ({ clientX }) => {
      const x = clientX - plot.getBoundingClientRect().left;
      const time = this.#times.at(-1) - (1 - (x - LEFT) / (this.#width - LEFT)) * this.#span();
      const at = this.#times.findLastIndex((other) => other <= time + 0.5);
      this.#go(at < 0 ? this.#times.length - 1 : this.#times.length - 1 - at);
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", () => this.#go(0));
    plot.addEventListener("focus", () => this.#say());
    plot.addEventListener("blur", () => this.#go(0));
    plot.addEventListener("keydown", (event) => {
      const steps = {
        ArrowLeft: 1,
        ArrowDown: 1,
        ArrowRight: -1,
        ArrowUp: -1,
        PageDown: 10,
        PageUp: -10,
      };
      const step = { ...steps, Home: Infinity, End: -Infinity }[event.key];
      if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      this.#go(this.#back + step);
    });
  }

  #go(back) {
    this.#back = Math.max(0, Math.min(back, this.#times.length - 1));
    this.#say();
    this.draw();
  }

  /** Tells the point under the cursor. Only on demand: nobody wants to hear a number each second. */
  #say() {
    const plot = this.#plot;
    const seconds = this.#back === 0 ? 0 : this.#times.at(-1) - this.#times.at(-1 - this.#back);
    const when = seconds === 0 ? "now" : `${Math.round(seconds)} seconds ago`;
    const said = this.#spec.series.map(({ name, points }) => `${name} ${this.#shown(points)}`).join(", ");
    plot.setAttribute("aria-valuemin", `${-Math.round(this.#span())}`);
    plot.setAttribute("aria-valuemax", "0");
    plot.setAttribute("aria-valuenow", `${-Math.round(seconds)}`);
    plot.setAttribute("aria-valuetext", `${when}: ${said}`);
  }

  #shown(points) {
    const value = points.at(-1 - this.#back);
    return value === undefined || Number.isNaN(value) ? "–" : this.#spec.show(value);
  }

  #span() {
    const age = this.#times.length ? this.#times.at(-1) - this.#times[0] : 0;
    return Math.min(SPAN, Math.max(SPAN_MIN, age));
  }

  /** The scale of the axis: from a value to a height, and the values of its lines. */
  #axis() {
    const { series, log, bytes, floor = 1 } = this.#spec;
    const all = series.flatMap(({ points }) => points).filter((value) => !Number.isNaN(value));
    const room = HEIGHT - TOP - BOTTOM;
    if (log) {
      const low = Math.floor(Math.log10(all.reduce((least, value) => Math.min(least, value), 1e-4)));
      const high = Math.ceil(Math.log10(all.reduce((most, value) => Math.max(most, value), 1e-2)));
      const lines = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index));
      const height = (value) => HEIGHT - BOTTOM - ((Math.log10(value) - low) / (high - low)) * room;
      return {
        height,
        lines: lines.filter((_, index) => index % Math.ceil(lines.length / 5) === 0),
      };
    }
    const most = all.reduce((most, value) => Math.max(most, value), floor);
    const top = ceiling(most, bytes ? 2 : 10);
    return {
      height: (value) => HEIGHT - BOTTOM - (value / top) * room,
      lines: [0, top / 2, top],
    };
  }

  draw() {
    const width = this.#width;
    for (const [index, { points }] of this.#spec.series.entries()) set(this.#values[index], this.#shown(points));
    if (!this.#plot.hasAttribute("aria-valuenow") || document.activeElement !== this.#plot) this.#say();
    if (width === 0) return;
    const span = this.#span();
    const newest = this.#times.at(-1) ?? 0;
    const { height, lines } = this.#axis();
    const across = (time) => width - ((newest - time) / span) * (width - LEFT);
    const minutes = span > 360 ? 2 : span > 150 ? 1 : 0.5;
    const times = [];
    for (let ago = minutes; ago * 60 < span; ago += minutes) times.push(ago);
    const marks = [
      ...lines.map((value) => ({
        y: height(value),
        text: this.#spec.show(value),
        x: 0,
      })),
      ...times.map((ago) => ({
        x: across(newest - ago * 60),
        text: ago < 1 ? "−30 s" : `−${ago} min`,
        y: HEIGHT - 4,
      })),
    ];
    this.#mark(marks, lines.length, width);
    for (const [index, { points }] of this.#spec.series.entries()) {
      let [path, pen] = ["", "M"];
      for (const [at, time] of this.#times.entries()) {
        const value = points[at];
        if (Number.isNaN(value)) {
          pen = "M";
          continue;
        }
        path += `${pen}${across(time).toFixed(1)} ${height(value).toFixed(1)}`;
        pen = "L";
      }
      this.#paths[index].setAttribute("d", path);
    }
    const cursor = across(this.#times.at(-1 - this.#back) ?? newest);
    for (const name of ["x1", "x2"]) this.#cursor.setAttribute(name, cursor.toFixed(1));
    this.#cursor.setAttribute("y2", `${HEIGHT - BOTTOM}`);
    this.#cursor.toggleAttribute("data-away", this.#back > 0);
  }

  /** The lines and texts of the axes. Their elements are used again. */
  #mark(marks, across, width) {
    const grid = this.#grid;
    while (grid.childElementCount < marks.length) {
      const group = grid.appendChild(document.createElementNS(SVG, "g"));
      group.append(document.createElementNS(SVG, "line"), document.createElementNS(SVG, "text"));
    }
    while (grid.childElementCount > marks.length) grid.lastElementChild.remove();
    for (const [index, { x, y, text }] of marks.entries()) {
      const [line, label] = grid.children[index].children;
      const place =
        index < across ? { x1: LEFT, x2: width, y1: y, y2: y } : { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM };
      for (const [name, value] of Object.entries(place)) line.setAttribute(name, value.toFixed(1));
      label.setAttribute("x", (index < across ? LEFT - 6 : x).toFixed(1));
      label.setAttribute("y", (index < across ? y + 4 : y).toFixed(1));
      label.setAttribute("text-anchor", index < across ? "end" : "middle");
      set(label, text);
    }
  }
}
