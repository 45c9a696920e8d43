/** What the page's blocks of data say: the run or the comparison, its classes and columns, and one row for each image. */

import { at, visible } from "./dom.js";

const read = (element) => JSON.parse(element.textContent);

export const about = read(at("about"));
export const closing = read(at("closing"));
export const compares = about.kind === "comparison";
export const OK = closing.worries.indexOf("ok");
export const { confident, unsure } = closing.thresholds;

/** The detail of an image, parsed when it is needed. */
export const detailOf = (row) => read(at(`image-${row.number}`));

const namesakes = new Map();
for (const [, label] of closing.classes) namesakes.set(label, (namesakes.get(label) || 0) + 1);
/** The name of each class; classes of one name are told apart by their index. */
const labels = closing.classes.map(([, label, index]) => visible(namesakes.get(label) > 1 ? `${label} (${index})` : label));
const numbers = new Map(closing.classes.map(([key], i) => [key, i]));
export const className = (number) => (number === null ? "none" : labels[number]);
export const classKey = (number) => closing.classes[number][0];
export const classOf = (key) => numbers.get(key) ?? null;

function toRow([path, worst, best, maps, judged], number) {
  const { truth = [], unknown = null, correct = null, before = null } = judged || {};
  const row = {
    number, path, worst, unknown, correct,
    predicted: best ? best[0] : null,
    confidence: best ? best[1] : null,
    truth: truth.map(([of, probability, rank]) => ({ of, probability, rank })),
    before: before && { predicted: before.best ? before.best[0] : null, confidence: before.best ? before.best[1] : null, ...before },
    maps: maps.map(([kind, worry, target, metrics, files = null, way = null], i) => ({ kind, worry, target, metrics, files: files || [i], way })),
  };
  const classes = [row.predicted, before && row.before.predicted, ...row.truth.map(({ of }) => of), ...row.maps.map((map) => map.target)];
  row.classText = row.predicted === null ? null : className(row.predicted);
  row.text = [path, ...[...new Set(classes)].filter((of) => of !== null).map(className)].join("\n").toLowerCase();
  return row;
}
export const rows = [...document.querySelectorAll("script.rows")].flatMap(read).map(toRow);
export const byPath = new Map(rows.map((row) => [row.path, row]));
export const judged = rows.some((row) => row.correct !== null);

const doubtful = new Set(closing.doubtful);
export const isDoubtful = (row) => doubtful.has(row.number);

// ---- columns that images can be sorted and bounded by

const SPOKEN = { confidence: "probability of the predicted class", truth: "probability of the true class" };
export const title = (column) => SPOKEN[column] || closing.titles[column] || visible(column).replaceAll("_", " ");

/** A row's value in a column: of the image, or of the map that is shown of it. */
export function value(row, column) {
  if (column === "confidence") return row.confidence;
  if (column === "truth") return row.truth.length ? row.truth[0].probability : null;
  const found = row.map && row.map.metrics[closing.columns.indexOf(column)];
  return found === undefined ? null : found;
}

/** Columns with at least two different values; a constant says nothing about an image. */
export const columns = ["confidence", "truth", ...closing.columns].filter((column) => {
  const at = closing.columns.indexOf(column);
  const first = {};
  return rows.some((row) => {
    const values = at < 0 ? [value(row, column)] : row.maps.map((map) => map.metrics[at] ?? null);
    return values.some((held) => {
      if (held === null) return false;
      first.value ??= held;
      return held !== first.value;
    });
  });
});
/** The metrics of a map that vary over the run, as [title, value]. */
export const metricsOf = (map) => closing.columns.flatMap((column, i) => (columns.includes(column) && (map.metrics[i] ?? null) !== null ? [[title(column), map.metrics[i]]] : []));
