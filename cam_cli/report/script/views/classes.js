/** One line for each class: how many of its images are right, with an interval, and what the others are taken for. */

import { className, closing, rows } from "../data.js";
import { at, count, make, percent } from "../dom.js";
import { ask } from "../state.js";

const order = { column: "accuracy", down: false };
const FEW = 100;
let lines = null;
let most = FEW;

/** `closing.by_class` has [class, right, images, low, high]. */
function gather() {
  const found = new Map(closing.by_class.map(([of, right, images, low, high]) => [of, { of, right, images, low, high, accuracy: right / images, predicted: 0, sum: 0, taken: new Map() }]));
  for (const row of rows) {
    if (row.predicted === null) continue;
    if (!found.has(row.predicted)) found.set(row.predicted, { of: row.predicted, right: null, images: 0, low: null, high: null, accuracy: null, predicted: 0, sum: 0, taken: new Map() });
    const as = found.get(row.predicted);
    as.predicted += 1;
    as.sum += row.confidence;
    if (row.correct === false && row.truth.length) {
      const { taken } = found.get(row.truth[0].of) || as;
      taken.set(row.predicted, (taken.get(row.predicted) || 0) + 1);
    }
  }
  return [...found.values()].map((one) => ({ ...one, confidence: one.predicted ? one.sum / one.predicted : null, most: [...one.taken].sort(([, m], [, n]) => n - m)[0] || null }));
}

const known = closing.by_class.length > 0;
const COLUMNS = [
  ["class", (one) => className(one.of), false],
  ...(known
    ? [["images", (one) => one.images, true], ["accuracy", (one) => one.accuracy, true]]
    : []),
  ["predicted", (one) => one.predicted, true],
  ["mean probability", (one) => one.confidence, true],
];

export function showClasses() {
  if (lines) return;
  lines = gather();
  if (!known) Object.assign(order, { column: "predicted", down: true });
  at("classes-lead").textContent = known ? "Lowest accuracy first; intervals are 95% (Wilson). Choose a class to see its images." : "No true class is known, so this counts predictions only. Choose a class to see its images.";
  at("find-class").addEventListener("input", draw);
  at("more-classes").addEventListener("click", () => {
    most = Infinity;
    draw();
    at("per-class").querySelectorAll("tbody th button")[FEW]?.focus();
  });
  draw();
}

function draw() {
  const [, key] = COLUMNS.find(([name]) => name === order.column);
  const words = at("find-class").value.trim().toLowerCase();
  const sign = order.down ? -1 : 1;
  const some = lines.filter(({ of }) => className(of).toLowerCase().includes(words)).sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === null || b === null) return (a === null) - (b === null) || one.of - other.of;
    return sign * (typeof a === "string" ? a.localeCompare(b, "en") : a - b) || other.images - one.images || one.of - other.of;
  });
  const head = ([name, , numeric]) => {
    const sorted = order.column === name;
    const button = make("button", { type: "button", className: "plain" }, `${name}${sorted ? (order.down ? " ↓" : " ↑") : ""}`);
    button.dataset.sort = name;
    button.addEventListener("click", () => {
      Object.assign(order, { column: name, down: sorted ? !order.down : numeric && name !== "accuracy" });
      draw();
      at("per-class").querySelector(`[data-sort="${name}"]`).focus();
    });
    const th = make("th", { scope: "col", className: numeric ? "number" : "" }, button);
    if (sorted) th.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    return th;
  };
  const heads = COLUMNS.map(head);
  if (known) heads.splice(3, 0, make("th", { scope: "col" }, "95% interval"), make("th", { scope: "col" }, "most often taken for"));
  at("per-class").replaceChildren(make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...some.slice(0, most).map(line)));
  at("more-classes").hidden = some.length <= most;
  at("more-classes").textContent = `Show all ${count(some.length)} classes`;
}

const figure = (text) => make("td", { className: "number" }, text);
function line(one) {
  const filter = (text, changes, name) => {
    const button = make("button", { type: "button", className: "plain", "aria-label": name }, text);
    button.addEventListener("click", () => ask({ view: "images", show: null, predicted: null, truth: null, ...changes }, { back: true }));
    return button;
  };
  const name = className(one.of);
  const parts = [make("th", { scope: "row" }, filter(name, one.images ? { truth: one.of } : { predicted: one.of }, `Images of ${name}`))];
  if (known) {
    const meter = make("span", { className: "interval", "aria-hidden": "true" }, make("b"), make("i"));
    if (one.images) {
      const [bar, point] = meter.children;
      bar.style.left = `${100 * one.low}%`;
      bar.style.width = `${100 * (one.high - one.low)}%`;
      point.style.left = `${100 * one.accuracy}%`;
    }
    const taken = one.most && filter(`${className(one.most[0])} (${count(one.most[1])})`, { truth: one.of, predicted: one.most[0] }, `Images of ${name} taken for ${className(one.most[0])}`);
    const interval = one.images ? `${percent(one.low)} to ${percent(one.high)}` : "";
    parts.push(figure(one.images ? count(one.images) : ""), figure(one.images ? `${count(one.right)} of ${count(one.images)}, ${percent(one.accuracy)}` : ""));
    parts.push(make("td", {}, one.images ? make("span", { className: "with-meter" }, meter, interval) : ""), make("td", {}, taken));
  }
  const predicted = one.predicted ? filter(count(one.predicted), { predicted: one.of }, `Images predicted as ${name}`) : "0";
  parts.push(make("td", { className: "number" }, predicted), figure(percent(one.confidence)));
  return make("tr", {}, ...parts);
}
