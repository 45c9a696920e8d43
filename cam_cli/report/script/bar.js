/** The bar that stays in sight: views, groups, search, order and filters. */

import { className, closing, columns, compares, judged, rows, title } from "./data.js";
import { at, count, make, many, number, visible } from "./dom.js";
import { CHIPS } from "./chips.js";
import { kinds } from "./maps.js";
import { ask, asked, bound, clear, found, narrowed, VIEWS } from "./state.js";
import { analyses, wayTitle } from "./ways.js";

const NAMES = { images: "Images", table: "Table", confusion: "Confusion", classes: "Classes", ways: "Ways of looking", figures: "Figures" };
const HAS = { confusion: judged, ways: analyses.length > 0 && !compares, figures: columns.length > 0 || closing.totals.length > 0 };
export const views = VIEWS.filter((view) => HAS[view] ?? true);

function makeViews() {
  at("views").append(...views.map((view) => {
    const button = make("button", { type: "button" }, NAMES[view]);
    button.dataset.view = view;
    button.addEventListener("click", () => ask({ view }, { back: true }));
    return button;
  }));
}

function showChips() {
  const here = rows.filter((row) => row.there);
  const chip = (name, text, some, help = "") => {
    const button = make("button", { type: "button", "aria-pressed": String(asked.show === name) }, text, make("span", {}, count(some)));
    if (help) button.title = help;
    button.dataset.chip = name ?? "all";
    button.addEventListener("click", () => {
      ask({ show: asked.show === name ? null : name, ...(["images", "table"].includes(asked.view) ? {} : { view: "images" }) });
      at("chips").querySelector(`[data-chip="${name ?? "all"}"]`)?.focus();
    });
    return button;
  };
  const some = Object.entries(CHIPS).map(([name, { text, help, holds }]) => [name, text, here.filter(holds).length, help]);
  const scrolled = at("chips").scrollLeft;
  at("chips").replaceChildren(chip(null, "All", here.length), ...some.filter(([name, , held]) => held || asked.show === name).map((parts) => chip(...parts)));
  at("chips").scrollLeft = scrolled;
}

/** The options of a choice among classes, the most frequent first. */
function listClasses(id, classesOf, every) {
  const counts = new Map();
  for (const row of rows) for (const of of classesOf(row)) counts.set(of, (counts.get(of) || 0) + 1);
  const options = [...counts].sort(([a, m], [b, n]) => n - m || className(a).localeCompare(className(b), "en"));
  at(id).replaceChildren(make("option", { value: "" }, every), ...options.map(([of, held]) => make("option", { value: String(of) }, `${className(of)} (${held})`)));
  at(`${id}-label`).hidden = counts.size === 0;
  at(id).addEventListener("change", ({ target }) => ask({ [id]: target.value === "" ? null : Number(target.value) }));
}

function token(text, remove) {
  const button = make("button", { type: "button", className: "token", "aria-label": `Remove filter: ${text}` }, text, make("span", { "aria-hidden": "true" }, "✕"));
  button.addEventListener("click", () => {
    remove();
    at("search").focus({ preventScroll: true });
  });
  return button;
}
function tokens() {
  const found = [];
  if (asked.text) found.push(token(`“${visible(asked.text)}”`, () => ask({ text: "" })));
  if (asked.truth !== null) found.push(token(`true class: ${className(asked.truth)}`, () => ask({ truth: null })));
  if (asked.predicted !== null) found.push(token(`predicted: ${className(asked.predicted)}`, () => ask({ predicted: null })));
  if (asked.way !== null) found.push(token(wayTitle(asked.way), () => ask({ way: null })));
  for (const [column, [low, high]] of asked.ranges) {
    const from = Number.isFinite(low) ? `from ${number(low)} ` : "";
    found.push(token(`${title(column)} ${from}${Number.isFinite(high) ? `to ${number(high)}` : ""}`.trim(), () => bound(column, -Infinity, Infinity)));
  }
  return found;
}

function showDirection() {
  at("direction").textContent = asked.down ? "↓" : "↑";
  const [first, reversed] = { attention: ["Most urgent first", "Least urgent first"], path: ["A to Z", "Z to A"], class: ["A to Z", "Z to A"] }[asked.sort] || ["Lowest first", "Highest first"];
  at("direction").setAttribute("aria-label", asked.down ? reversed : first);
  at("direction").title = at("direction").getAttribute("aria-label");
}

export function showBar() {
  for (const button of at("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === asked.view));
  showChips();
  const there = rows.filter((row) => row.there).length;
  at("count").textContent = found.length === there ? many(there, "image") : `${count(found.length)} of ${many(there, "image")}`;
  at("status").hidden = !["images", "table"].includes(asked.view) && !narrowed();
  at("tokens").replaceChildren(...tokens());
  at("reset").hidden = !narrowed();
  at("exported").textContent = "";
  if (document.activeElement !== at("search")) at("search").value = asked.text;
  for (const id of ["predicted", "truth"]) at(id).value = asked[id] === null ? "" : String(asked[id]);
  at("sort").value = asked.sort;
  at("kind").value = asked.kind;
  showDirection();
  const filters = [asked.predicted, asked.truth, asked.way].filter((held) => held !== null).length + asked.ranges.size + (asked.kind ? 1 : 0);
  at("more").textContent = filters ? `Filters (${filters})` : "Filters";
}

export function wireBar() {
  makeViews();
  listClasses("predicted", (row) => (row.predicted === null ? [] : [row.predicted]), compares ? "any class in B" : "any predicted class");
  listClasses("truth", (row) => row.truth.map(({ of }) => of), "any true class");
  const sorts = [["attention", compares ? "largest change" : "what needs a look"], ["path", "file name"], ["class", "predicted class"], ...columns.map((column) => [column, title(column)])];
  at("sort").append(...sorts.map(([key, text]) => make("option", { value: key }, text)));
  at("sort").addEventListener("change", ({ target }) => ask({ sort: target.value }));
  at("direction").addEventListener("click", () => ask({ down: !asked.down }));
  at("kind").append(make("option", { value: "" }, compares ? "the most changed of each image" : "the most doubtful of each image"), ...kinds.map(([key, name]) => make("option", { value: key }, name)));
  at("kind-label").hidden = kinds.length < 2;
  at("kind").addEventListener("change", ({ target }) => ask({ kind: target.value }));
  at("search").addEventListener("input", ({ target }) => ask({ text: target.value.trim().toLowerCase() }));
  at("all").addEventListener("input", ({ target }) => {
    asked.fade = Number(target.value);
    for (const slider of at("grid").querySelectorAll('input[type="range"]')) {
      slider.value = asked.fade;
      slider.dispatchEvent(new Event("input"));
    }
  });
  at("reset").addEventListener("click", () => {
    clear();
    at("search").focus({ preventScroll: true });
  });
  at("more").addEventListener("click", () => openFilters(at("panel").hidden));
}
export function openFilters(open) {
  at("panel").hidden = !open;
  at("more").setAttribute("aria-expanded", String(open));
  at("bar").classList.toggle("opened", open);
}
