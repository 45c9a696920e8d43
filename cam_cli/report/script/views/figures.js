/** How the figures are distributed, with bounds to filter by, and what `evaluate` measured in total. */

import { closing, columns, rows, title, value } from "../data.js";
import { at, count, exactPercent, facts, flat, make, many, number, visible } from "../dom.js";
import { asked, bound, found } from "../state.js";

const BINS = 24;
const plots = new Map();

function svgElement(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, held] of Object.entries(attributes)) element.setAttribute(key, held);
  return element;
}

export function makeFigures() {
  for (const column of columns) {
    const svg = svgElement("svg", { viewBox: `0 0 ${BINS * 10} 74`, preserveAspectRatio: "none", role: "img", "aria-label": `Distribution of ${title(column)}` });
    const middle = make("span");
    const inputs = ["at least", "at most"].map((side) => make("input", { type: "number", step: "any", inputMode: "decimal", "aria-label": `${title(column)} ${side}` }));
    const changed = () => {
      const [low, high] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
      bound(column, low ?? -Infinity, high ?? Infinity);
    };
    inputs.forEach((input) => input.addEventListener("input", changed));
    at("plots").append(make("figure", {}, make("figcaption", {}, title(column), middle), svg, make("div", { className: "range" }, inputs[0], "to", inputs[1])));
    plots.set(column, { svg, middle, inputs });
  }
  showMeasured();
  showTotals();
  showSanity();
}

export function showFigures() {
  const here = rows.filter((row) => row.there);
  for (const [column, { svg, middle, inputs }] of plots) {
    const [low, high] = asked.ranges.get(column) || [-Infinity, Infinity];
    [low, high].forEach((side, i) => {
      if (document.activeElement !== inputs[i]) inputs[i].value = Number.isFinite(side) ? side : "";
    });
    drawPlot(column, svg, middle, inputs, here);
  }
}

function drawPlot(column, svg, middle, inputs, here) {
  const values = (some) => some.map((row) => value(row, column)).filter((held) => held !== null);
  const [every, kept] = [values(here), values(found)];
  const ends = every.reduce(([a, b], held) => [Math.min(a, held), Math.max(b, held)], [Infinity, -Infinity]);
  let [low, high] = ends;
  if (["confidence", "truth"].includes(column) || (low >= 0 && high <= 1 && (low === high || high - low > 0.3))) [low, high] = [0, 1];
  else if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const counts = (some) => some.reduce((bins, held) => {
    bins[Math.min(BINS - 1, Math.floor(((held - low) / (high - low || 1)) * BINS))] += 1;
    return bins;
  }, new Array(BINS).fill(0));
  const [all, some] = [counts(every), counts(kept)];
  const tallest = Math.max(1, ...all);
  const bars = (bins, kind) => bins.map((held, i) => {
    const height = held ? Math.max(1.5, (held / tallest) * 72) : 0;
    return svgElement("rect", { x: i * 10 + 0.75, y: 74 - height, width: 8.5, height, class: kind });
  });
  svg.replaceChildren(...bars(all, "every"), ...bars(some, "kept"));
  const sorted = kept.toSorted((a, b) => a - b);
  const median = sorted.length ? sorted[Math.floor((sorted.length - 1) / 2)] : null;
  middle.textContent = sorted.length ? `median ${number(median)}` : "none";
  svg.setAttribute("aria-label", `Distribution of ${title(column)}: ${many(kept.length, "image")}, median ${number(median)}, from ${number(ends[0])} to ${number(ends[1])}`);
  inputs.forEach((input, i) => { input.placeholder = every.length ? number([low, high][i]) : ""; });
}

function showMeasured() {
  const { top5, calibration_error: error } = closing.measured;
  const lines = [];
  if (top5) lines.push(["top-5 accuracy", `${exactPercent(top5.share)} (${exactPercent(top5.low)} to ${exactPercent(top5.high)})`]);
  if (error !== null && error !== undefined) lines.push(["expected calibration error", number(error)]);
  if (!lines.length) return;
  at("evaluation").hidden = false;
  at("measured").replaceChildren(facts(lines));
}
const heads = (texts, numeric = false) => texts.map((text) => make("th", { scope: "col", className: numeric ? "number" : "" }, text));
/** Noise that provably has no effect has one value for all maps, which says nothing. */
const ofNoise = ({ metric, low, high }) => ["noise_effect", "standard_error"].includes(metric) && low === high;
function showTotals() {
  const totals = closing.totals.filter((total) => !ofNoise(total));
  if (!totals.length) return;
  at("evaluation").hidden = false;
  const head = make("tr", {}, ...heads(["metric", "method", "layer"]), ...heads(["mean", "95% interval", "images"], true));
  const lines = totals.map((total) => {
    const cells = [title(total.metric), visible(total.method), visible(total.layer)].map((text) => make("td", {}, text));
    const figures = [number(total.mean), `${number(total.low)} to ${number(total.high)}`, count(total.images)];
    return make("tr", {}, ...cells, ...figures.map((text) => make("td", { className: "number" }, text)));
  });
  at("totals").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
  at("evaluated").replaceChildren(facts(flat(closing.evaluation)));
}
function showSanity() {
  if (!closing.sanity) return;
  at("evaluation").hidden = at("sanity").hidden = false;
  const stages = heads(closing.sanity.stages.map((stage) => `down to ${visible(stage)}`), true);
  const lines = closing.sanity.survivals.map(({ method, layer, stages: kept, survives }) => {
    const verdict = survives ? make("span", { className: "badge failed" }, "survives: it hardly depends on what was learned") : null;
    const figures = kept.map((held) => make("td", { className: "number" }, number(held)));
    return make("tr", {}, make("td", {}, visible(method)), make("td", {}, visible(layer)), ...figures, make("td", {}, verdict));
  });
  at("survivals").replaceChildren(make("thead", {}, make("tr", {}, ...heads(["method", "layer"]), ...stages, make("td"))), make("tbody", {}, ...lines));
}
