/** Keys: from image to image with the arrows, and one key for each thing that is done often. */

import { at } from "./dom.js";
import { openFilters, views } from "./bar.js";
import { ask, asked } from "./state.js";

/** The element that an arrow leads to: the next one, or the nearest one above or below. */
function neighbour(elements, from, key) {
  const index = elements.indexOf(from);
  if (key === "Home") return elements[0];
  if (key === "End") return elements.at(-1);
  if (key === "ArrowLeft") return elements[index - 1];
  if (key === "ArrowRight") return elements[index + 1];
  const box = (element) => element.getBoundingClientRect();
  const here = box(from);
  const sign = key === "ArrowDown" ? 1 : -1;
  const beyond = elements.filter((element) => sign * (box(element).top - here.top) > 4);
  const middle = (element) => box(element).left + box(element).width / 2;
  const distance = (element) => 4 * Math.abs(box(element).top - here.top) + Math.abs(middle(element) - middle(from));
  return beyond.reduce((best, element) => (best && distance(best) <= distance(element) ? best : element), undefined);
}
const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
/** The arrows go between the elements inside that match. */
function arrows(id, selector) {
  at(id).addEventListener("keydown", (event) => {
    if (!ARROWS.includes(event.key) || !event.target.matches(selector)) return;
    const next = neighbour([...at(id).querySelectorAll(selector)], event.target, event.key);
    event.preventDefault();
    if (next) next.focus();
  });
}

export function wireKeyboard(turn) {
  arrows("grid", ".open");
  arrows("table", ".open");
  arrows("views", "button");
  arrows("chips", "button");
  arrows("pairs", "button");
  arrows("matrix", "button");
  arrows("per-class", "tbody th button");
  arrows("ways", "button");
  const keys = {
    "/": () => at("search").focus(),
    f: () => {
      openFilters(at("panel").hidden);
      (at("panel").hidden ? at("more") : at("panel").querySelector("select, input, button")).focus();
    },
    "[": () => turn(asked.page - 1),
    "]": () => turn(asked.page + 1),
    "?": () => at("keys").showModal(),
  };
  views.forEach((view, i) => { keys[String(i + 1)] = () => ask({ view }, { back: true }); });
  at("show-keys").addEventListener("click", () => at("keys").showModal());
  at("close-keys").addEventListener("click", () => at("keys").close());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (at("export").open) at("export").open = false;
      else if (!at("panel").hidden) {
        openFilters(false);
        at("more").focus();
      }
      return;
    }
    if (event.target.matches("input:not([type=range]), select, textarea") || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
