/** Small pictures of an image and its maps. */

import { className, closing, OK, title } from "./data.js";
import { make, number, picture, visible } from "./dom.js";
import { EMPTY } from "./stage.js";

/** A frame with the image alone. */
export function imageFrame(row, detail) {
  const frame = make("span", { className: "frame" });
  if (detail.image.small) frame.append(imageOf(row, detail));
  else frame.append(make("span", { className: "empty" }, detail.error ? "not explained" : "no picture"));
  return frame;
}
const imageOf = (row, detail) => make("img", { src: picture(detail.image.small), alt: `Image ${visible(row.path)}`, decoding: "async" });

/** A frame with a map over its image; `bare`: without the image. The overlay has the class `over` where it can fade. */
export function mapFrame(row, detail, map, bare = false) {
  const frame = make("span", { className: "frame" });
  const small = bare ? null : detail.image.small;
  if (small) frame.append(imageOf(row, detail));
  const empty = (text) => frame.append(make("span", { className: "empty" }, text));
  if (map.state !== "ok") {
    frame.classList.add("pale");
    empty(EMPTY[map.state]);
    return frame;
  }
  const file = [map.files.overlay, map.files.heatmap].find((name) => name && name.startsWith("./"));
  if (!map.small && !file) {
    if (!small) empty("no picture");
    return frame;
  }
  const over = make("img", { alt: `${visible(map.method)} for ${visible(map.target.label)} on ${visible(row.path)}`, decoding: "async", loading: "lazy" });
  over.src = map.small ? picture(map.small) : file;
  over.addEventListener("error", () => {
    over.remove();
    if (!small) empty("its picture is not beside this page");
  });
  if (small) over.classList.add("over");
  frame.append(over);
  return frame;
}

/** Why a map needs a look, as [kind, text]. */
export function reasons(map) {
  const kind = closing.worries[map.worry];
  if (kind !== "suspicious") return map.worry < OK ? [[kind, EMPTY[kind]]] : [];
  const held = (metric) => map.metrics[closing.columns.indexOf(metric)];
  const beyond = Object.entries(closing.suspicious).filter(([metric, most]) => held(metric) > most);
  return beyond.map(([metric]) => [kind, `${title(metric)} ${number(held(metric))}`]);
}
export const badge = (kind, text) => make("span", { className: `badge ${kind}` }, text);
export const named = (of, kind = "") => make("b", { className: kind }, make("bdi", {}, className(of)));
