/** The images that pass the filters, as a list of paths or as CSV. */

import { about, className, compares } from "./data.js";
import { at, make, many } from "./dom.js";
import { found } from "./state.js";

/** A cell of CSV; text that a spreadsheet would take for a formula gets an apostrophe in front of it. */
const quoted = (held) => {
  const bare = held === null || held === undefined ? "" : String(held);
  const text = typeof held === "string" && /^[=+@-]/.test(held) ? `'${bare}` : bare;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const label = (of) => (of === null ? "" : className(of));
const first = (row) => row.truth[0] || { of: null, probability: null };
const HEAD = compares
  ? ["path", "predicted_a", "probability_a", "predicted_b", "probability_b", "truth", "correct_a", "correct_b"]
  : ["path", "status", "predicted", "probability", "truth", "truth_probability", "correct"];
const cells = (row) => (compares
  ? [row.path, label(row.before.predicted), row.before.confidence, label(row.predicted), row.confidence, label(first(row).of), row.before.correct, row.correct]
  : [row.path, row.worst === 0 ? "failed" : "ok", label(row.predicted), row.confidence, row.truth.map(({ of }) => label(of)).join("; "), first(row).probability, row.correct]);

const paths = () => found.map((row) => `${row.path}\n`).join("");
const table = () => [HEAD, ...found.map(cells)].map((line) => `${line.map(quoted).join(",")}\r\n`).join("");

function save(text, ending, type) {
  const name = `${(about.folder || "images").replace(/[^\w.-]+/g, "_")}-${found.length}.${ending}`;
  const href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const anchor = make("a", { href, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
  told(`Saved ${name}.`);
}
function told(text) {
  at("exported").textContent = text;
  at("export").open = false;
}

export function wireExport() {
  at("save-paths").addEventListener("click", () => save(paths(), "txt", "text/plain"));
  at("save-csv").addEventListener("click", () => save(table(), "csv", "text/csv"));
  at("copy-paths").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(paths());
      told(`Copied ${many(found.length, "path")}.`);
    } catch {
      told("This browser does not let the page copy; save the paths instead.");
    }
  });
}
