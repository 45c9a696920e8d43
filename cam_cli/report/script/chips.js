/** The groups of images that are worth a look, and which images come first. */

import { closing, compares, confident, isDoubtful, judged, OK, rows, unsure } from "./data.js";
import { percent } from "./dom.js";
import { isOdd } from "./ways.js";

const [FAILED, NONFINITE, BLANK, SUSPICIOUS] = ["failed", "nonfinite", "blank", "suspicious"].map((worry) => closing.worries.indexOf(worry));
const wrong = (row) => row.correct === false;
const isUnsure = (row) => row.correct === true && row.confidence < unsure;
const was = (row) => (row.before ? row.before.correct : null);

const OF_A_RUN = {
  wrong: { text: "Wrong", holds: wrong },
  confident: { text: "Confidently wrong", help: `wrong at over ${percent(confident)}`, holds: (row) => wrong(row) && row.confidence > confident },
  unsure: { text: "Right but unsure", help: `right at less than ${percent(unsure)}`, holds: isUnsure },
  doubtful: { text: "Label doubtful", help: "the network is confident of another class than the label says", holds: isDoubtful },
  odd: { text: "Odd way of looking", help: "its map belongs to a cluster that stands apart from the rest of its class", holds: isOdd },
  failed: { text: "Failed", help: "not explained", holds: (row) => row.worst === FAILED },
  nonfinite: { text: "Not finite", holds: (row) => row.worry === NONFINITE },
  blank: { text: "Blank", help: "nothing in the map speaks for the class", holds: (row) => row.worry === BLANK },
  suspicious: { text: "Suspicious", help: "a figure of the map is beyond its limit", holds: (row) => row.worry === SUSPICIOUS },
  unknown: { text: "Truth unknown", help: "the label names no class of the network", holds: (row) => row.unknown !== null },
  right: { text: "Right", holds: (row) => row.correct === true },
  ok: { text: "Nothing unusual", holds: (row) => row.worry === OK && !wrong(row) && !isUnsure(row) && !isDoubtful(row) && !isOdd(row) },
};
const OF_A_COMPARISON = {
  broke: { text: "Broke", help: "right in A, wrong in B", holds: (row) => was(row) === true && wrong(row) },
  fixed: { text: "Fixed", help: "wrong in A, right in B", holds: (row) => was(row) === false && row.correct === true },
  both: { text: "Wrong in both", holds: (row) => was(row) === false && wrong(row) },
  changed: { text: "Other class", help: "A and B predict different classes", holds: (row) => row.before.changed },
  newblank: { text: "Newly blank", holds: (row) => row.before.newlyBlank },
  newfailed: { text: "Newly failed", holds: (row) => row.before.newlyFailed },
  right: { text: "Right in both", holds: (row) => was(row) === true && row.correct === true },
};
export const CHIPS = compares ? OF_A_COMPARISON : OF_A_RUN;

/** What becomes of an image, for its edge: red where it is wrong or broke, and so on. */
export function verdict(row) {
  if (compares) return ["broke", "fixed", "both"].find((name) => CHIPS[name].holds(row)) || (row.correct === true ? "right" : "");
  if (row.worst === FAILED) return "failed";
  if (row.correct === null) return row.worry < OK ? "doubt" : "";
  return wrong(row) ? "wrong" : "right";
}

const FIRST = ["broke", "newfailed", "newblank", "changed"];
/** Of a comparison: what broke, failed, went blank or is another class now, each in the order of the comparison. */
function changeOf(row) {
  const kind = FIRST.findIndex((name) => CHIPS[name].holds(row));
  return (kind < 0 ? FIRST.length : kind) * rows.length + row.number;
}

/** The less, the earlier: wrong images by their confidence, then what failed or has no good map, then the unsure ones. */
export function urgency(row) {
  if (compares) return changeOf(row);
  if (wrong(row)) return 1 - row.confidence;
  if (row.worry < OK) return 2 + row.worry;
  if (isDoubtful(row) || isOdd(row)) return 10;
  return judged && row.correct === true ? 11 + row.confidence : 12 + (judged ? 1 : 0);
}
