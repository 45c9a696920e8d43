/** The dialog with everything about one image. */

import { about, byPath, className, closing, compares, detailOf, metricsOf, OK } from "./data.js";
import { at, end, exactPercent, facts, flat, link, make, number, pathName, spans, visible } from "./dom.js";
import { kindName, neuronsOf, roleName, severalKinds } from "./maps.js";
import { badge, mapFrame, reasons } from "./pictures.js";
import { fade, follow, showStage, step } from "./stage.js";
import { asked, found, remember } from "./state.js";
import { saying, sidesOf } from "./views/grid.js";

const LINKS = { overlay: "overlay", heatmap: "heatmap", figure: "figure", raw: "raw map (.npy)" };
let open = null;
let onClose = () => {};

export function show(row) {
  open = row;
  asked.image = row.path;
  remember();
  const detail = detailOf(row);
  at("detail-title").replaceChildren(pathName(row.path));
  at("detail-says").replaceChildren(...saying(row).childNodes);
  const index = found.indexOf(row);
  end("previous", index <= 0);
  end("next", index < 0 || index === found.length - 1);
  at("position").textContent = index < 0 ? "" : `${(index + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
  at("maps").replaceChildren(...detail.maps.map((map, i) => mapButton(row, detail, map, i)));
  at("maps").hidden = detail.maps.length < 2;
  const first = row.pair ? row.pair[0] : row.map;
  showMap(row, detail, compares ? detail.maps.indexOf(sidesOf(row, detail)[1]) : first ? first.files[0] : 0);
  if (!at("detail").open) at("detail").showModal();
  at("detail").scrollTop = 0;
}

/** The row of the map that a detail has under a number. */
const measuresOf = (row, i) => row.maps.find((map) => map.files.includes(i)) || null;

/** The class of a map, and the classes that it is explained against. */
const classOf = (map) => `${visible(map.target.label)}${map.against.length ? `, rather than ${map.against.map(({ label }) => visible(label)).join(", ")}` : ""}`;

function mapButton(row, detail, map, i) {
  const measures = measuresOf(row, i);
  const role = compares ? map.side : measures && roleName(row, measures);
  const name = compares ? visible(map.method) : severalKinds && measures ? kindName(measures.kind) : null;
  const label = make("span", {}, make("b", {}, role || visible(map.method)), name ? make("br") : null, name, make("br"), make("span", { className: "soft" }, classOf(map)));
  const button = make("button", { type: "button" }, mapFrame(row, detail, map, true), label);
  button.addEventListener("click", () => showMap(row, detail, i));
  return button;
}

function showMap(row, detail, i) {
  const map = detail.maps[i] || null;
  [...at("maps").children].forEach((button, n) => button.setAttribute("aria-pressed", String(n === i)));
  showStage(row, detail, map);
  showFacts(row, detail, map, measuresOf(row, i));
}

const section = (title, ...content) => make("section", {}, make("h3", {}, title), ...content);

function predictions(entries, row, title) {
  const isTrue = (entry) => row.truth.some(({ of }) => closing.classes[of][2] === entry.index && closing.classes[of][1] === entry.label);
  const lines = entries.map((entry) => {
    const bar = make("b");
    bar.style.width = `${100 * Math.min(1, Math.max(0, entry.probability))}%`;
    const name = make("span", {}, make("bdi", {}, visible(entry.label)), isTrue(entry) ? badge("fixed", "true class") : null);
    return make("li", { className: isTrue(entry) ? "good" : "" }, name, make("span", {}, exactPercent(entry.probability)), make("i", { "aria-hidden": "true" }, bar));
  });
  return section(title, make("ol", { className: "top" }, ...lines));
}

function truthFacts(row) {
  if (!row.truth.length && row.unknown === null) return null;
  const lines = row.truth.map(({ of, probability, rank }) => {
    const parts = [rank ? `rank ${rank}` : null, probability === null ? null : exactPercent(probability)].filter(Boolean);
    return [className(of), parts.join(", ") || "not among the recorded predictions"];
  });
  if (row.unknown !== null) lines.push(["unknown label", visible(row.unknown) || "none"]);
  return section(row.truth.length > 1 ? "True classes" : "True class", facts(lines));
}

function mapFacts(row, map, measures) {
  const lines = [
    ["method", visible(map.method)], ["layer", visible(map.layer)],
    ["class", `${visible(map.target.label)} (${map.target.index})${measures && !compares ? `, ${roleName(row, measures)}` : ""}`],
    ...(map.against.length ? [["rather than", map.against.map(({ label, index }) => `${visible(label)} (${index})`).join(", ")]] : []),
    ["feature maps", map.selection.filters ? spans(map.selection.filters) : "all"],
    ["neurons", neuronsOf(map.selection)],
    ["state", { ok: "ok", blank: "blank: nothing speaks for the class", nonfinite: "not finite" }[map.state]],
    ["grid", `${map.grid[0]} × ${map.grid[1]}`], ["values", `${number(map.min)} to ${number(map.max)}`],
    ["noise", visible(map.noise)], ["head", `${map.head}; derivatives ${map.derivatives}`],
    ...(map.guarded_cells ? [["guarded cells", String(map.guarded_cells)]] : []),
    ...(measures ? metricsOf(measures).map(([name, held]) => [name, number(held)]) : []),
  ];
  const links = Object.entries(LINKS).filter(([kind]) => map.files[kind]).map(([kind, text]) => link(map.files[kind], text));
  return section(compares ? `The map of ${map.side}` : "This map", facts(lines), make("p", { className: "links" }, ...links));
}

function showFacts(row, detail, map, measures) {
  const parts = [];
  for (const { stage, type, message, side } of [detail.error].flat().filter(Boolean)) {
    parts.push(make("p", { className: "message" }, `${side ? `${side} failed` : "Failed"} at ${visible(stage)} (${visible(type)}): ${visible(message)}`));
  }
  if (measures && measures.worry < OK) parts.push(make("div", { className: "badges" }, ...reasons(measures).map(([kind, text]) => badge(kind, text))));
  const lists = compares ? detail.predictions : [detail.predictions];
  lists.forEach((entries, i) => {
    if (entries.length) parts.push(predictions(entries, row, compares ? `Most likely classes in ${"AB"[i]}` : "Most likely classes"));
  });
  parts.push(truthFacts(row));
  if (map) parts.push(mapFacts(row, map, measures));
  const state = { gone: "It is not there any more.", changed: "It was changed after this run, so it is not shown.", same: null }[detail.image.state];
  const size = detail.size && detail.size[0] ? `${detail.size[0]} × ${detail.size[1]} pixels` : null;
  const notes = [size, ...detail.notes.map(visible), detail.error ? null : state].filter(Boolean).map((text) => make("p", { className: "note" }, text));
  const manifests = [detail.manifest].flat().map((href, i, all) => link(href, all.length > 1 ? `manifest of ${"AB"[i]}` : "manifest"));
  const joint = detail.joint.map(({ href }) => link(href, "all classes in one picture"));
  parts.push(section("Image", ...notes, make("p", { className: "links" }, link(detail.image.href, "open the image"), ...manifests, ...joint)));
  const settings = [detail.settings].flat().map((of, i, all) => flat(closing.settings[of], all.length > 1 ? `${"AB"[i]} ` : ""));
  const versions = flat(about.versions || {}, "version ");
  parts.push(make("details", {}, make("summary", {}, "Settings"), facts([["network", visible(detail.model)], ...settings.flat(), ...versions])));
  at("facts").replaceChildren(...parts.filter(Boolean));
}

function walk(by) {
  const next = found[found.indexOf(open) + by];
  if (next && found.includes(open)) show(next);
}

/** `closed`: called with the row that was shown last. */
export function wireDetail(closed) {
  onClose = closed;
  at("close").addEventListener("click", () => at("detail").close());
  at("previous").addEventListener("click", () => walk(-1));
  at("next").addEventListener("click", () => walk(1));
  at("fade").addEventListener("input", fade);
  at("neurons").addEventListener("click", ({ currentTarget }) => {
    currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true"));
    fade();
  });
  at("stage").addEventListener("pointermove", follow);
  at("stage").addEventListener("pointerdown", follow);
  at("stage").addEventListener("keydown", step);
  at("detail").addEventListener("click", (event) => { if (event.target === at("detail")) at("detail").close(); });
  at("detail").addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, summary")) return;
    if (event.key === "ArrowLeft") walk(-1);
    else if (event.key === "ArrowRight") walk(1);
  });
  at("detail").addEventListener("close", () => {
    asked.image = null;
    remember();
    if (open) onClose(open);
  });
}

/** Open or close the dialog as the address says. */
export function followAddress() {
  const row = asked.image === null ? null : byPath.get(asked.image);
  if (row && (!at("detail").open || open !== row)) show(row);
  else if (!row && at("detail").open) at("detail").close();
}
