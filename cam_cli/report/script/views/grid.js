/** Images as cards: what the network says beside what is true, and its map. */

import { className, closing, compares, detailOf, OK, title, value } from "../data.js";
import { at, make, number, percent, shortened, visible } from "../dom.js";
import { badge, imageFrame, mapFrame, named, reasons } from "../pictures.js";
import { roleName, kindName, severalKinds } from "../maps.js";
import { asked } from "../state.js";
import { CHIPS, verdict } from "../chips.js";

/** `open`: called with a row whose detail is asked for. */
export function showGrid(rows, open) {
  const details = rows.map(detailOf);
  const shapes = details.map(({ size }) => size && size[0] / size[1]).filter(Boolean).sort((a, b) => a - b);
  at("grid").style.setProperty("--shape", Math.min(16 / 9, Math.max(4 / 5, shapes[shapes.length >> 1] || 4 / 3)));
  at("grid").replaceChildren(...rows.map((row, i) => card(row, details[i], open)));
}

function card(row, detail, open) {
  const frames = framesOf(row, detail);
  const opener = make("button", { type: "button", className: "open", "aria-label": `Details of ${visible(row.path)}` }, ...frames);
  opener.dataset.number = row.number;
  opener.addEventListener("click", () => open(row));
  const picture = make("div", { className: "pictures" }, opener);
  const overlays = [...opener.querySelectorAll(".over")];
  if (overlays.length) picture.append(slider(row, overlays));
  const item = make("li", { className: `card ${verdict(row)}${frames.length > 1 ? ` frames-${frames.length}` : ""}` }, picture);
  const name = make("p", { className: "name" }, shortened(row.path));
  if (compares) item.append(make("div", { className: "text three" }, make("div", {}, shouldBe(row), name, figure(row), badges(row, detail)), ...sayings(row)));
  else item.append(make("div", { className: "text" }, saying(row), name, figure(row), badges(row, detail)));
  return item;
}

function slider(row, overlays) {
  const input = make("input", { type: "range", min: 0, max: 100, value: asked.fade, "aria-label": `From image to overlay, ${visible(row.path)}` });
  const fade = () => overlays.forEach((over) => { over.style.opacity = input.value / 100; });
  input.addEventListener("input", fade);
  fade();
  return input;
}

/** Image, A and B of a comparison; predicted and true class of a wrong image; or one map. */
function framesOf(row, detail) {
  const captioned = (frame, text) => {
    frame.append(make("span", { className: "caption" }, text));
    return frame;
  };
  if (compares) {
    const sides = sidesOf(row, detail);
    const frame = (map) => (map ? mapFrame(row, detail, map) : imageFrame(row, { ...detail, image: { small: null } }));
    return [captioned(imageFrame(row, detail), "image"), ...sides.map((map, i) => captioned(frame(map), "AB"[i]))];
  }
  if (row.pair) return row.pair.map((map, i) => captioned(mapFrame(row, detail, detail.maps[map.files[0]]), i ? "true class" : "predicted class"));
  return [row.map ? mapFrame(row, detail, detail.maps[row.map.files[0]]) : imageFrame(row, detail)];
}

/** The maps of A and B: those that belong together, or else the first of each; null where there is none. */
export function sidesOf(row, detail) {
  if (row.map) return row.map.files.map((file) => detail.maps[file]);
  return ["A", "B"].map((side) => detail.maps.find((map) => map.side === side) || null);
}

const part = (of, probability, kind) => [named(of, kind), "\u00a0", make("span", { className: "value" }, percent(probability))];

function shouldBe(row) {
  if (!row.truth.length) return null;
  const names = row.truth.flatMap(({ of }, i) => (i ? [" and ", named(of)] : [named(of)]));
  return make("p", { className: "says" }, row.correct === false || row.before.correct === false ? "should be " : "is ", ...names);
}
/** What A and B predict. */
function sayings(row) {
  const says = ({ predicted, confidence, correct }) => (predicted === null ? ["failed"] : part(predicted, confidence, { true: "good", false: "bad" }[correct] || ""));
  return [row.before, row].map((side) => make("p", { className: "says" }, ...says(side)));
}

/** "swimming trunks 57% – should be hammerhead 1%", as an element. */
export function saying(row) {
  if (compares) {
    const [a, b] = sayings(row);
    return make("p", { className: "says" }, "A ", ...a.childNodes, " · B ", ...b.childNodes, ...(row.truth.length ? [" · ", ...shouldBe(row).childNodes] : []));
  }
  const line = make("p", { className: "says" });
  if (row.predicted === null) {
    if (row.truth.length) line.append("should be ", named(row.truth[0].of));
    return line;
  }
  line.append(...part(row.predicted, row.confidence, row.correct === false ? "bad" : ""));
  if (row.correct === false) {
    const others = row.truth.filter(({ of }) => of !== row.predicted || row.truth.length === 1);
    line.append(" – should be ");
    others.forEach(({ of, probability }, i) => line.append(...(i ? [" and "] : []), ...(probability === null ? [named(of)] : part(of, probability, ""))));
    if (!row.truth.length) line.append("no class");
  }
  return line;
}

function figure(row) {
  const { sort } = asked;
  if (!closing.columns.includes(sort)) return null;
  return make("p", { className: "soft" }, `${title(sort)} `, make("span", { className: "value" }, number(value(row, sort))));
}

function badges(row, detail) {
  const list = make("div", { className: "badges" });
  const add = (kind, text) => list.append(badge(kind, text));
  if (detail.error) add("failed clamp", `failed: ${visible(detail.error.message)}`);
  else if (row.map && row.worry < OK) reasons(row.map).forEach(([kind, text]) => add(kind, text));
  for (const name of compares ? ["broke", "fixed", "both", "newblank", "newfailed"] : ["doubtful", "odd"]) {
    if (CHIPS[name].holds(row)) add(name, CHIPS[name].text.toLowerCase());
  }
  if (row.unknown !== null) add("", row.unknown ? `unknown label ${visible(row.unknown)}` : "no label");
  if (detail.image.state !== "same" && !detail.error) add("", detail.image.state === "gone" ? "image not there any more" : "image changed since");
  if (!asked.kind && !compares && row.map && row.worry < OK) {
    const role = row.map.target === row.predicted ? null : `${roleName(row, row.map)} ${className(row.map.target)}`;
    const parts = [severalKinds ? kindName(row.map.kind) : null, role].filter(Boolean);
    if (parts.length) add("", parts.join(" · "));
  }
  return list.children.length ? list : null;
}
