/** The page, put together. `make page` bundles these modules to page.js. */

import { showBar, views, wireBar } from "./bar.js";
import { rows } from "./data.js";
import { followAddress, show, wireDetail } from "./detail.js";
import { at, count, end } from "./dom.js";
import { wireExport } from "./export.js";
import { showHeadline } from "./headline.js";
import { wireKeyboard } from "./keyboard.js";
import { look } from "./maps.js";
import { ask, asked, found, onChange, start } from "./state.js";
import { showClasses } from "./views/classes.js";
import { showConfusion } from "./views/confusion.js";
import { makeFigures, showFigures } from "./views/figures.js";
import { showGrid } from "./views/grid.js";
import { showTable } from "./views/table.js";
import { showWays } from "./views/ways.js";

const PER_PAGE = 60;
const SHOW = { confusion: showConfusion, classes: showClasses, ways: () => showWays(show), figures: showFigures };

const pages = () => Math.max(1, Math.ceil(found.length / PER_PAGE));

function showImages() {
  asked.page = Math.min(Math.max(0, asked.page), pages() - 1);
  const some = found.slice(asked.page * PER_PAGE, (asked.page + 1) * PER_PAGE);
  const table = asked.view === "table";
  at("grid").hidden = table;
  at("table-part").hidden = !table || !some.length;
  at(table ? "grid" : "table").replaceChildren();
  if (table && some.length) showTable(some, rows, show);
  else if (!table) showGrid(some, show);
  at("nothing").hidden = found.length > 0;
  at("pages").hidden = pages() === 1;
  at("page").value = asked.page + 1;
  at("page").max = pages();
  at("of").textContent = `of ${count(pages())}`;
  end("before", asked.page === 0);
  end("after", asked.page === pages() - 1);
}
function turn(page) {
  if (page < 0 || page >= pages()) return;
  ask({ page });
  window.scrollTo(0, Math.max(0, at("images").offsetTop - at("bar").offsetHeight));
}

function showAll() {
  if (!views.includes(asked.view)) asked.view = "images";
  showBar();
  const images = ["images", "table"].includes(asked.view);
  at("images").hidden = !images;
  for (const view of Object.keys(SHOW)) at(view).hidden = view !== asked.view;
  if (images) showImages();
  else SHOW[asked.view]();
  followAddress();
}

function closed(row) {
  const page = Math.floor(found.indexOf(row) / PER_PAGE);
  if (page >= 0 && page !== asked.page) turn(page);
  const opener = at("images").querySelector(`.open[data-number="${row.number}"]`);
  if (opener) opener.focus();
}

rows.forEach((row) => look(row, asked.kind));
showHeadline();
makeFigures();
wireBar();
wireExport();
wireDetail(closed);
wireKeyboard(turn);
at("before").addEventListener("click", () => turn(asked.page - 1));
at("after").addEventListener("click", () => turn(asked.page + 1));
at("page").addEventListener("change", ({ target }) => turn(Math.min(pages(), Math.max(1, Math.floor(Number(target.value) || 1))) - 1));
onChange(showAll);
start();
document.documentElement.dataset.ready = "yes";
