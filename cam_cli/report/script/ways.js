/** Ways of looking: which images belong to which cluster of maps. */

import { classKey, closing, rows } from "./data.js";

/** Each analysis is of the maps of one layer and method. */
export const analyses = closing.strategies || [];

export const wayId = (analysis, target, number) => `${analysis}.${number}.${target}`;

const members = new Map();
analyses.forEach(({ layer, method }, i) => {
  for (const row of rows) {
    for (const map of row.maps) {
      const kind = closing.kinds[map.kind];
      if (map.way === null || kind.layer !== layer || kind.method !== method) continue;
      const id = wayId(i, classKey(map.target), map.way);
      if (!members.has(id)) members.set(id, new Set());
      members.get(id).add(row.number);
    }
  }
});
const titles = new Map();
const odd = new Set();
analyses.forEach((analysis, i) => {
  for (const { target, strategies } of analysis.classes) {
    for (const [position, way] of strategies.entries()) {
      const id = wayId(i, target.key, way.number);
      titles.set(id, `way ${position + 1} of looking at ${target.label}`);
      if (way.odd) for (const row of members.get(id) || []) odd.add(row);
    }
  }
});

export const isOfWay = (row, id) => members.has(id) && members.get(id).has(row.number);
export const wayTitle = (id) => titles.get(id) || "an unknown way of looking";
export const isOdd = (row) => odd.has(row.number);
