/** Elements and words. Text from outside only ever becomes a text node or the value of an attribute. */

export const at = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u2028\u2029]/gu;
export const visible = (text) => String(text).replace(INVISIBLE, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
export const count = (value) => value.toLocaleString("en");
export const many = (value, one, several = `${one}s`) => `${count(value)} ${value === 1 ? one : several}`;

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

export const exactPercent = (value) => (value === null || value === undefined ? "–" : `${number(100 * value)}%`);

/** A share in whole percent; one that is neither 0 nor 1 is never told as 0% or 100%. */
export function percent(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.005) return "<1%";
  if (value < 1 && value > 0.995) return ">99%";
  return `${Math.round(100 * value)}%`;
}

export const link = (href, text) => (href.startsWith("./") ? make("a", { href, target: "_blank", rel: "noopener" }, text) : text);
export const picture = (small) => `data:image/webp;base64,${small}`;

export function facts(entries) {
  const list = make("dl", { className: "facts" });
  for (const [name, value] of entries) list.append(make("dt", {}, name), make("dd", {}, value));
  return list;
}

/** A whole path, its folder paler. */
export function pathName(path) {
  const cut = path.lastIndexOf("/") + 1;
  return make("bdi", {}, cut ? make("span", { className: "soft" }, visible(path.slice(0, cut))) : null, visible(path.slice(cut)));
}

/** A text on one line, shortened in the middle where it is too long; its title has all of it. */
export function shortened(text, ending = 14) {
  const characters = [...visible(text)];
  const cut = Math.max(0, characters.length - ending);
  const parts = [characters.slice(0, cut).join(""), characters.slice(cut).join("")];
  return make("span", { className: "short", title: visible(text) }, ...parts.filter(Boolean).map((part) => make("bdi", {}, part)));
}

/** Say that a button leads nowhere, and let it keep the focus. */
export const end = (id, reached) => at(id).setAttribute("aria-disabled", String(reached));

/** The rows of a tree of settings as [path, value]; what is not set has no row. */
export function flat(tree, prefix = "") {
  return Object.entries(tree).flatMap(([key, held]) => {
    if (held === null || held === "" || (Array.isArray(held) && !held.length)) return [];
    if (typeof held === "object" && !Array.isArray(held)) return flat(held, `${prefix}${key}.`);
    return [[visible(prefix + key), visible(typeof held === "string" ? held : JSON.stringify(held))]];
  });
}

/** Numbers as spans, such as 0-3,7. */
export function spans(numbers) {
  const parts = [];
  for (const n of numbers) {
    const last = parts.at(-1);
    if (last && last[1] + 1 === n) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? a : `${a}-${b}`)).join(",");
}
