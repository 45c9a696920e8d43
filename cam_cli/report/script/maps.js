/** Which maps of an image are shown, and what they are called. */

import { className, closing, compares, OK, rows } from "./data.js";
import { spans, visible } from "./dom.js";

const ROLES = { predicted: "predicted class", true: "true class" };
const baseOf = closing.kinds.map(({ method, layer, selection }) => JSON.stringify([method, layer, selection]));
const bases = [...new Set(baseOf)];
const severalLayers = new Set(closing.kinds.map((kind) => kind.layer)).size > 1;

function selected({ filters, region, subset, top }) {
  const parts = filters ? [`filters ${spans(filters)}`] : [];
  if (top) parts.push(`${top} strongest neurons`);
  else if (subset) parts.push(`${region ? "region" : "neurons"} ${subset.slice(0, 6).map((pair) => `(${pair.join(", ")})`).join(" ")}${subset.length > 6 ? " …" : ""}`);
  return parts;
}
export const neuronsOf = (selection) => selected({ ...selection, filters: null }).join("") || "all";

/** Method, layer (if there are several) and selection of a kind of maps. */
export function kindName(number) {
  const { method, layer, selection } = closing.kinds[number];
  return visible([method, ...(severalLayers ? [layer] : []), ...selected(selection)].join(" · "));
}

/** How a map's class stands to the image: it is predicted, true, both, or another one that was asked for. */
function rolesOf(row, map) {
  if (compares) return [""];
  const roles = [];
  if (map.target === row.predicted) roles.push("predicted");
  if (row.truth.some(({ of }) => of === map.target)) roles.push("true");
  return roles.length ? roles : [`${closing.kinds[map.kind].target}`];
}
export function roleName(row, map) {
  const roles = rolesOf(row, map);
  if (roles.length === 2) return "predicted and true class";
  return ROLES[roles[0]] || className(map.target);
}

const choices = new Map();
for (const row of rows) {
  for (const map of row.maps) for (const role of rolesOf(row, map)) choices.set(`${bases.indexOf(baseOf[map.kind])}:${role}`, map.kind);
}
const several = new Set([...choices.keys()].map((key) => key.split(":")[1])).size > 1 && !compares;
const ORDER = ["predicted", "true"];
const rank = (key) => {
  const [base, role] = key.split(":");
  return Number(base) * 1000 + (ORDER.includes(role) ? ORDER.indexOf(role) : 1 + Number(role));
};
/** What can be chosen to be shown, as [key, name]. */
export const kinds = [...choices].sort(([a], [b]) => rank(a) - rank(b)).map(([key, number]) => {
  const role = key.split(":")[1];
  return [key, several ? `${kindName(number)} · ${ROLES[role] || `class ${role}`}` : kindName(number)];
});
/** Several choices or several methods: a map must say which one it is. */
export const severalKinds = bases.length > 1;

/** Set `row.map` to the map that is shown first, `row.pair` to what stands beside it, `row.worry` to what is wrong with it. */
export function look(row, kind) {
  if (!kind) row.map = row.maps.reduce((worst, map) => (worst && worst.worry <= map.worry ? worst : map), null);
  else row.map = row.maps.find((map) => rolesOf(row, map).some((role) => `${bases.indexOf(baseOf[map.kind])}:${role}` === kind)) || null;
  row.worry = row.worst === 0 ? 0 : row.map ? row.map.worry : OK;
  row.there = !kind || row.map !== null || row.worst === 0;
  row.pair = row.map && !compares && !kind.endsWith(":true") ? pairOf(row) : null;
}

/** The maps of the predicted and of the true class, made in one way, where the two classes differ. */
function pairOf(row) {
  if (row.correct !== false) return null;
  const alike = row.maps.filter((map) => baseOf[map.kind] === baseOf[row.map.kind]);
  const predicted = alike.find((map) => map.target === row.predicted);
  const truth = alike.find((map) => row.truth.some(({ of }) => of === map.target) && map !== predicted);
  return predicted && truth ? [predicted, truth] : null;
}
