/** Ways of looking: for each class the clusters of its maps, with their mean map, size, accuracy and typical images. */

import { byPath, className, classOf, detailOf, judged } from "../data.js";
import { at, count, make, many, percent, picture, visible } from "../dom.js";
import { heat } from "../stage.js";
import { ask } from "../state.js";
import { analyses, wayId } from "../ways.js";

const TYPICAL = 4;
let ready = false;

export function showWays(open) {
  if (ready) return;
  ready = true;
  const parts = analyses.flatMap((analysis, i) => {
    const { layer, method, classes, together, fewest, left_out: leftOut } = analysis;
    const flagged = classes.filter((one) => one.flagged).length;
    const title = `${visible(method)}, ${visible(layer)}`;
    const apart = flagged ? `${count(flagged)} with a way that stands apart` : "no way stands apart";
    const enough = `${many(classes.length, "class", "classes")} of at least ${many(fewest, "image")}${leftOut ? `, ${count(leftOut)} with fewer left out` : ""}; ${apart}.`;
    const lead = classes.length ? enough : `No class has ${many(fewest, "image")}, so none is looked at by itself.`;
    const shown = [...classes, ...(together ? [together] : [])];
    return [make("header", { className: "part" }, make("h2", {}, title), make("p", { className: "soft" }, lead)), ...shown.map((one) => ofClass(one, i, open))];
  });
  at("ways").replaceChildren(...parts);
}

function ofClass(one, analysis, open) {
  const { target, flagged, strategies, images, blank, p_value: p } = one;
  const number = target ? classOf(target.key) : null;
  const name = number === null ? (target ? visible(target.label) : "All images together") : className(number);
  const notes = [many(images, "image"), blank ? `${count(blank)} blank` : null, strategies.length === 1 ? "one way of looking" : `${count(strategies.length)} ways of looking`, p === null || p === undefined ? null : `p = ${p}`];
  const head = make("header", {}, make("h3", {}, name, flagged ? make("span", { className: "badge odd" }, "a way that stands apart") : null), make("p", { className: "soft" }, notes.filter(Boolean).join(" · ")));
  return make("section", { className: `way-class${flagged ? " flagged" : ""}` }, head, make("ul", { className: "way-list" }, ...strategies.map((way, i) => ofWay(way, i + 1, target, analysis, name, open))));
}

function ofWay(way, position, target, analysis, name, open) {
  const accuracy = way.accuracy === null || !judged ? "" : `, ${percent(way.accuracy)} right`;
  const inner = [meanMap(way.mean_map), make("span", { className: "words" }, make("b", {}, `Way ${position}`), make("span", {}, `${many(way.size, "image")}${accuracy}`), make("span", { className: "soft" }, `likeness ${percent(way.likeness)}${way.odd ? ", stands apart" : ""}`))];
  const item = make("li", { className: way.odd ? "odd" : "" });
  if (target) {
    const button = make("button", { type: "button", className: "line", "aria-label": `Images of way ${position} of looking at ${name}` }, ...inner);
    button.addEventListener("click", () => ask({ view: "images", show: null, predicted: null, truth: null, way: wayId(analysis, target.key, way.number) }, { back: true }));
    item.append(button);
  } else item.append(make("div", { className: "line" }, ...inner));
  const typical = way.typical.map((path) => byPath.get(path)).filter(Boolean).slice(0, TYPICAL);
  item.append(make("div", { className: "thumbnails" }, ...typical.map((row) => thumbnail(row, open))));
  return item;
}

function thumbnail(row, open) {
  const detail = detailOf(row);
  const map = row.maps.find((one) => one.way !== null);
  const small = (map && detail.maps[map.files[0]].small) || detail.image.small;
  const button = make("button", { type: "button", className: "small", "aria-label": `Details of ${visible(row.path)}`, title: visible(row.path) });
  if (small) button.append(make("img", { src: picture(small), alt: "", loading: "lazy" }));
  button.addEventListener("click", () => open(row));
  return button;
}

/** The mean map over the network's input, its peak at 1. */
function meanMap(values) {
  const [height, width] = [values.length, values[0]?.length || 0];
  const canvas = make("canvas", { className: "mean", width: Math.max(1, width), height: Math.max(1, height), role: "img", "aria-label": "mean map" });
  if (!height || !width) return canvas;
  const image = new ImageData(width, height);
  values.flat().forEach((held, i) => image.data.set([...heat(Math.min(1, Math.max(0, held || 0))).slice(0, 3), 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
