/** Images as rows of a table, sorted by a click on the head of a column. */

import { className, closing, columns, compares, detailOf, title, value } from "../data.js";
import { at, exactPercent, make, number, picture, shortened, visible } from "../dom.js";
import { ask, asked } from "../state.js";
import { verdict } from "../chips.js";

const name = (of) => make("td", {}, of === null ? "" : make("bdi", {}, className(of)));
const figure = (text) => make("td", { className: "number" }, text);
const VERDICTS = { wrong: "wrong", right: "right", failed: "failed", broke: "broke", fixed: "fixed", both: "wrong in both" };

/** Name, what it is sorted by, and the cell of a row. */
const OF_A_RUN = [
  ["predicted", "class", (row) => name(row.predicted)],
  ["probability", "confidence", (row) => figure(exactPercent(row.confidence))],
  ["true class", null, (row) => make("td", {}, row.truth.map(({ of }) => className(of)).join(", ") || (row.unknown ? `? ${visible(row.unknown)}` : ""))],
  ["its probability", "truth", (row) => figure(row.truth.length ? exactPercent(row.truth[0].probability) : "")],
  ["rank", null, (row) => figure(row.truth.length && row.truth[0].rank ? row.truth[0].rank : "")],
];
const OF_A_COMPARISON = [
  ["A", null, (row) => name(row.before.predicted)],
  ["probability", null, (row) => figure(exactPercent(row.before.confidence))],
  ["B", "class", (row) => name(row.predicted)],
  ["probability", "confidence", (row) => figure(exactPercent(row.confidence))],
  ["true class", null, (row) => make("td", {}, row.truth.map(({ of }) => className(of)).join(", "))],
];
let shown = null;

function columnsOf(rows) {
  const some = (compares ? OF_A_COMPARISON : OF_A_RUN).filter(([head]) => !/true|rank|its/.test(head) || rows.some((row) => row.truth.length || row.unknown));
  const metrics = columns.filter((column) => closing.columns.includes(column)).map((column) => [title(column), column, (row) => figure(number(value(row, column)))]);
  return [...some, ["", "attention", (row) => make("td", {}, make("span", { className: `badge ${verdict(row)}` }, VERDICTS[verdict(row)] || closing.worries[row.worry]))], ...metrics];
}

export function showTable(rows, every, open) {
  shown ??= columnsOf(every);
  const head = ([text, sort, cell]) => {
    const numeric = /number/.test(cell(every[0] || rows[0])?.className || "");
    const sorted = sort !== null && asked.sort === sort;
    const th = make("th", { scope: "col", className: numeric ? "number" : "" });
    if (sorted) th.setAttribute("aria-sort", asked.down ? "descending" : "ascending");
    if (sort === null) th.append(text);
    else {
      const button = make("button", { type: "button", className: "plain" }, `${text || "attention"}${sorted ? (asked.down ? " ↓" : " ↑") : ""}`);
      button.dataset.sort = sort;
      button.addEventListener("click", () => {
        ask({ sort, down: sorted ? !asked.down : numeric });
        at("table").querySelector(`[data-sort="${CSS.escape(sort)}"]`).focus();
      });
      th.append(button);
    }
    return th;
  };
  const line = (row) => {
    const detail = detailOf(row);
    const small = (row.map && detail.maps[row.map.files.at(-1)]?.small) || detail.image.small;
    const thumbnail = small ? make("img", { src: picture(small), alt: "", loading: "lazy", decoding: "async" }) : make("span", { className: "none" });
    const opener = make("button", { type: "button", className: "plain open", "aria-label": `Details of ${visible(row.path)}` }, thumbnail, shortened(row.path));
    opener.dataset.number = row.number;
    opener.addEventListener("click", () => open(row));
    return make("tr", { className: verdict(row) }, make("th", { scope: "row" }, opener), ...shown.map(([, , cell]) => cell(row)));
  };
  const path = head(["image", "path", () => null]);
  at("table").replaceChildren(make("thead", {}, make("tr", {}, path, ...shown.map(head))), make("tbody", {}, ...rows.map(line)));
}
