/** What is asked for: view, filters and order. It stands in the address, so that a link leads to the same images. */

import { classKey, classOf, columns, compares, rows, value } from "./data.js";
import { isOfWay } from "./ways.js";
import { CHIPS, urgency } from "./chips.js";
import { kinds, look } from "./maps.js";

export const VIEWS = ["images", "table", "confusion", "classes", "ways", "figures"];
const NOTHING = { view: "images", show: null, text: "", predicted: null, truth: null, way: null, kind: "", sort: "attention", down: false, page: 0, image: null };
export const asked = { ...NOTHING, ranges: new Map(), fade: 100 };
/** The rows that pass, in their order. */
export let found = [];

const listeners = [];
export const onChange = (listener) => listeners.push(listener);

function passes(row) {
  if (!row.there || (asked.show !== null && !CHIPS[asked.show].holds(row))) return false;
  if (asked.predicted !== null && row.predicted !== asked.predicted) return false;
  if (asked.truth !== null && !row.truth.some(({ of }) => of === asked.truth)) return false;
  if (asked.way !== null && !isOfWay(row, asked.way)) return false;
  if (asked.text && !row.text.includes(asked.text)) return false;
  for (const [column, [low, high]] of asked.ranges) {
    const held = value(row, column);
    if (held === null || held < low || held > high) return false;
  }
  return true;
}

const collator = new Intl.Collator("en");
const KEYS = {
  attention: (row) => urgency(row),
  path: (row) => (compares ? row.path : row.number),
  class: (row) => row.classText,
};
const alphabetical = (a, b) => collator.compare(a, b);
const numerical = (a, b) => a - b;
function ordered(some) {
  const key = KEYS[asked.sort] || ((row) => value(row, asked.sort));
  const sign = asked.down ? -1 : 1;
  const compare = asked.sort === "class" || (asked.sort === "path" && compares) ? alphabetical : numerical;
  const keyed = some.map((row) => [key(row), row]);
  keyed.sort(([a, first], [b, second]) => {
    if (a === null || b === null) return (a === null) - (b === null) || first.number - second.number;
    return sign * compare(a, b) || first.number - second.number;
  });
  return keyed.map(([, row]) => row);
}

/** Change what is asked for, and show it. `back`: the browser's button Back returns to what was before. */
export function ask(changes, { back = false, page = 0 } = {}) {
  const kindBefore = asked.kind;
  Object.assign(asked, changes, { page: changes.page ?? page });
  if (asked.kind !== kindBefore) rows.forEach((row) => look(row, asked.kind));
  refresh();
  remember(back);
}
export function bound(column, low, high) {
  if (low === -Infinity && high === Infinity) asked.ranges.delete(column);
  else asked.ranges.set(column, [low, high]);
  ask({});
}
export function clear() {
  asked.ranges.clear();
  ask({ show: null, text: "", predicted: null, truth: null, way: null });
}
export const narrowed = () => asked.show !== null || asked.text !== "" || asked.predicted !== null || asked.truth !== null || asked.way !== null || asked.ranges.size > 0;

function refresh() {
  found = ordered(rows.filter(passes));
  listeners.forEach((listener) => listener());
}

// ---- the address

function address() {
  const words = new URLSearchParams();
  for (const key of ["view", "show", "text", "way", "kind", "sort", "image"]) if (asked[key] !== NOTHING[key]) words.set(key, asked[key]);
  for (const key of ["predicted", "truth"]) if (asked[key] !== null) words.set(key, classKey(asked[key]));
  if (asked.down) words.set("order", "down");
  if (asked.page) words.set("page", asked.page + 1);
  for (const [column, [low, high]] of asked.ranges) words.set(`.${column}`, [low, high].map((side) => (Number.isFinite(side) ? side : "")).join(".."));
  return words.toString();
}
export function remember(back = false) {
  const words = address();
  if (words === window.location.hash.slice(1)) return;
  window.history[back ? "pushState" : "replaceState"](null, "", `#${words}`);
}
function readAddress() {
  const words = new URLSearchParams(window.location.hash.slice(1));
  Object.assign(asked, NOTHING);
  asked.ranges.clear();
  for (const [key, held] of words) {
    if (key === "view" && VIEWS.includes(held)) asked.view = held;
    else if (key === "show" && Object.hasOwn(CHIPS, held)) asked.show = held;
    else if (key === "predicted" || key === "truth") asked[key] = classOf(held);
    else if (key === "text" || key === "way" || key === "image") asked[key] = held;
    else if (key === "kind" && kinds.some(([name]) => name === held)) asked.kind = held;
    else if (key === "sort" && (Object.hasOwn(KEYS, held) || columns.includes(held))) asked.sort = held;
    else if (key === "order") asked.down = held === "down";
    else if (key === "page") asked.page = Math.max(0, Math.floor(Number(held) || 1) - 1);
    else if (key.startsWith(".") && columns.includes(key.slice(1))) {
      const [low, high] = held.split("..").map((side) => (side === "" || side === undefined ? NaN : Number(side)));
      asked.ranges.set(key.slice(1), [Number.isNaN(low) ? -Infinity : low, Number.isNaN(high) || high === undefined ? Infinity : high]);
    }
  }
}
export function start() {
  const load = () => {
    readAddress();
    rows.forEach((row) => look(row, asked.kind));
    refresh();
  };
  window.addEventListener("popstate", load);
  load();
}
