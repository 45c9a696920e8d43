/** Which classes are taken for which: the most frequent pairs, and a matrix of the classes that are confused most. */

import { className, compares, detailOf, rows } from "../data.js";
import { at, count, make, many, percent, picture, visible } from "../dom.js";
import { ask } from "../state.js";

const PAIRS = 30;
const IN_MATRIX = 14;
let ready = false;
let most = PAIRS;

function pairsOf() {
  const pairs = new Map();
  const counts = new Map();
  for (const row of rows) {
    if (!row.truth.length || row.predicted === null) continue;
    const of = row.truth[0].of;
    counts.set(of, (counts.get(of) || 0) + 1);
    if (row.correct !== false) continue;
    const key = `${of}>${row.predicted}`;
    if (!pairs.has(key)) pairs.set(key, { of, as: row.predicted, rows: [] });
    pairs.get(key).rows.push(row);
  }
  const mean = (some) => some.reduce((sum, row) => sum + row.confidence, 0) / some.length;
  const found = [...pairs.values()].map((pair) => ({ ...pair, mean: mean(pair.rows), images: counts.get(pair.of) }));
  return found.sort((a, b) => b.rows.length - a.rows.length || b.mean - a.mean);
}

/** Filters that show the images of a pair. */
const only = (truth, predicted) => ask({ view: "images", show: null, truth, predicted }, { back: true });

export function showConfusion() {
  if (ready) return;
  ready = true;
  const pairs = pairsOf();
  const total = pairs.reduce((sum, pair) => sum + pair.rows.length, 0);
  const side = compares ? " in B" : "";
  at("confusion-lead").textContent = pairs.length ? `${many(total, "image")} wrong${side}, in ${many(pairs.length, "pair")} of classes. Choose a pair to see its images.` : `No image of known class is wrong${side}.`;
  const longest = pairs.length ? pairs[0].rows.length : 1;
  const draw = () => {
    at("pairs").replaceChildren(...pairs.slice(0, most).map((pair) => line(pair, longest)));
    at("more-pairs").hidden = most >= pairs.length;
    at("more-pairs").textContent = `Show all ${count(pairs.length)} pairs`;
  };
  at("more-pairs").addEventListener("click", () => {
    const first = most;
    most = pairs.length;
    draw();
    at("pairs").children[first]?.querySelector("button").focus();
  });
  draw();
  showMatrix(pairs);
}

function line({ of, as, rows: some, mean, images }, longest) {
  const bar = make("b");
  bar.style.width = `${(100 * some.length) / longest}%`;
  const thumbnails = some.slice(0, 4).map((row) => detailOf(row).image.small).filter(Boolean).map((small) => make("img", { src: picture(small), alt: "", loading: "lazy" }));
  const words = make("span", { className: "pair" }, make("bdi", {}, className(of)), make("span", { className: "soft" }, " taken for "), make("bdi", { className: "bad" }, className(as)));
  const figures = make("span", { className: "soft figures" }, `${count(some.length)} of ${many(images, "image")}, mean probability ${percent(mean)}`);
  const button = make("button", { type: "button", className: "line" }, make("span", { className: "words" }, words, make("i", { className: "meter", "aria-hidden": "true" }, bar), figures), make("span", { className: "thumbnails" }, ...thumbnails));
  button.addEventListener("click", () => only(of, as));
  return make("li", {}, button);
}

function showMatrix(pairs) {
  const classes = [...new Set(pairs.flatMap(({ of, as }) => [of, as]))].slice(0, IN_MATRIX);
  at("matrix-part").hidden = classes.length < 3;
  if (classes.length < 3) return;
  const cells = new Map();
  for (const row of rows) {
    if (!row.truth.length || row.predicted === null) continue;
    const key = `${row.truth[0].of}>${row.predicted}`;
    cells.set(key, (cells.get(key) || 0) + 1);
  }
  const highest = Math.max(...classes.flatMap((of) => classes.map((as) => cells.get(`${of}>${as}`) || 0)));
  const cell = (of, as) => {
    const held = cells.get(`${of}>${as}`) || 0;
    if (!held) return make("td", {});
    const says = `${many(held, "image")} of ${className(of)} predicted as ${className(as)}`;
    const button = make("button", { type: "button", className: `cell-count ${of === as ? "good" : "bad"}`, "aria-label": says, title: says }, count(held));
    button.style.setProperty("--share", `${Math.round(15 + (70 * held) / highest)}%`);
    button.addEventListener("click", () => only(of, as));
    return make("td", {}, button);
  };
  const head = make("tr", {}, make("td", { className: "corner" }, "true ↓ predicted →"), ...classes.map((as) => make("th", { scope: "col" }, make("span", {}, className(as)))));
  const lines = classes.map((of) => make("tr", {}, make("th", { scope: "row", title: visible(className(of)) }, className(of)), ...classes.map((as) => cell(of, as))));
  at("matrix").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
}
