/** The headline: how many images are right, what is wrong with the others, and of which run this is. */

import { about, closing, compares, judged, rows } from "./data.js";
import { at, count, make, many, number, percent, visible } from "./dom.js";
import { CHIPS } from "./chips.js";

const held = (name) => rows.filter(CHIPS[name].holds).length;
const bare = (share) => percent(share).replace("%", "");
const day = (time) => (time ? new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" }) : "");
const run = (side) => [visible(side.folder), side.model && side.model.name ? visible(side.model.name) : null, day(side.finished || side.started)].filter(Boolean).join(", ");

function ofARun() {
  const failed = held("failed");
  const { accuracy } = closing;
  const doubtful = ["nonfinite", "blank", "suspicious"].map((name) => [held(name), { nonfinite: "not finite", blank: "blank", suspicious: "suspicious" }[name]]).filter(([some]) => some).map(([some, text]) => `${count(some)} ${text}`);
  const maps = doubtful.length ? `Maps: ${doubtful.join(", ")}.` : "No map is blank or suspicious.";
  if (judged && accuracy) {
    const { right, images, low, high } = accuracy;
    const wrong = held("wrong");
    const confident = held("confident");
    const rest = [`${count(wrong)} wrong`, ...(wrong ? [`${confident ? count(confident) : "none"} of them with over ${percent(closing.thresholds.confident)} confidence`] : []), `${count(failed)} failed`];
    const unknown = held("unknown");
    if (unknown) rest.push(`${count(unknown)} without a known class`);
    return [`${count(right)} of ${count(images)} right`, ` (${percent(right / images)}, ${bare(low)} to ${bare(high)}), ${rest.join(", ")}`, maps];
  }
  const unknown = held("unknown");
  const why = unknown ? "No label names a class of the network, so it is not told which images are right." : "The true classes are not known, so it is not told which images are right; `--truth folder` or a file of labels tells them.";
  return [many(rows.length, "image"), `, ${count(failed)} failed`, `${maps} ${why}`];
}

function ofAComparison() {
  const { before, after, correlation, only_before: onlyA, only_after: onlyB } = about;
  const sides = `A is ${run(before)}. B is ${run(after)}.`;
  const alike = correlation ? ` Mean correlation of each image's worst map: ${number(correlation.mean)} (${number(correlation.low)} to ${number(correlation.high)}).` : "";
  const alone = onlyA || onlyB ? ` ${many(onlyA, "image")} only in A, ${count(onlyB)} only in B.` : "";
  const tail = `, ${count(held("changed"))} with another class, ${count(held("newblank"))} newly blank, ${count(held("newfailed"))} newly failed`;
  if (judged) return [`${count(held("broke"))} broke, ${count(held("fixed"))} fixed`, `, ${count(held("both"))} wrong in both of ${many(rows.length, "image")}`, `${sides}${alike}${alone} ${tail.slice(2)}.`];
  return [`${count(held("changed"))} of ${many(rows.length, "image")}`, ` with another class, ${count(held("newblank"))} newly blank, ${count(held("newfailed"))} newly failed`, `${sides}${alike}${alone} The true classes are not known, so it is not told what broke.`];
}

export function showHeadline() {
  const [strong, rest, lead] = compares ? ofAComparison() : ofARun();
  at("title").replaceChildren(make("b", {}, strong), rest);
  const missing = about.expected - closing.images;
  const incomplete = about.state && about.state !== "finished" ? " The run was not complete when this was written." : "";
  at("lead").textContent = `${lead}${incomplete}${missing > 0 ? ` ${many(missing, "more image")} in the index could not be read.` : ""}`;
  const model = about.model && about.model.name ? visible(about.model.name) : "";
  const parts = compares ? ["A and B", visible(about.root || "")] : [visible(about.root || "Images"), model, `run ${visible(about.folder || "")}`, day(about.finished)];
  at("origin").textContent = parts.filter(Boolean).join(" · ");
  document.title = `${visible(about.root || "Images")} – ${compares ? "what changed" : "saliency report"}`;
}
