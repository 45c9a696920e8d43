"use strict";
(() => {
  const PER_PAGE = 60;
  const BINS = 24;
  const LINKS = { overlay: "overlay", heatmap: "heatmap", raw: "raw map (.npy)" };
  const STATES = { failed: "Failed", nonfinite: "Not finite", blank: "Blank", suspicious: "Suspicious", ok: "Nothing unusual" };
  const EMPTY = { blank: "blank map", nonfinite: "not finite" };
  const at = (id) => document.getElementById(id);
  const read = (element) => JSON.parse(element.textContent);
  const about = read(at("about"));
  const closing = read(at("closing"));
  const rows = [...document.querySelectorAll("script.rows")].flatMap(read).map(([path, worst, best, maps], number) => ({
    number, path, worst, label: best ? best[0] : null, confidence: best ? best[1] : null,
    maps: maps.map(([kind, worry, target, metrics]) => ({ kind, worry, target, metrics })),
    text: [path, best ? best[0] : "", ...maps.map((map) => map[2])].join("\n").toLowerCase(),
  }));
  const OK = closing.worries.indexOf("ok");
  const columns = ["confidence", ...closing.columns];
  const chosen = { kind: -1, worry: null, text: "", label: null, ranges: new Map(), sort: "attention", down: false, page: 0, fade: 100 };
  let found = [];
  let open = null;

  // ---- small helpers; text from outside only ever becomes a text node or an attribute's value

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element && name !== "list") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const visible = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u2028\u2029]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const words = (name) => closing.titles[name] || visible(name).replaceAll("_", " ");
  const many = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
  function number(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }
  const percent = (value) => (value === null ? "–" : `${number(100 * value)} %`);
  const link = (href, text) => (href.startsWith("./") ? make("a", { href, target: "_blank", rel: "noopener" }, text) : text);
  const picture = (small) => `data:image/webp;base64,${small}`;
  const detailOf = (row) => read(at(`image-${row.number}`));
  /** Say that a button leads nowhere, and let it keep the focus. */
  const end = (button, reached) => at(button).setAttribute("aria-disabled", String(reached));
  function pairs(entries) {
    const list = make("dl", { className: "facts" });
    for (const [name, value] of entries) list.append(make("dt", {}, name), make("dd", {}, value));
    return list;
  }
  function name(path) {
    const cut = path.lastIndexOf("/") + 1;
    return make("bdi", {}, cut ? make("span", { className: "folder" }, visible(path.slice(0, cut))) : null, visible(path.slice(cut)));
  }
  function spans(numbers) {
    const parts = [];
    for (const n of numbers) {
      const last = parts.at(-1);
      if (last && last[1] + 1 === n) last[1] = n;
      else parts.push([n, n]);
    }
    return parts.map(([a, b]) => (a === b ? a : `${a}-${b}`)).join(",");
  }
  function selected({ filters, region, subset, top }) {
    const parts = filters ? [`filters ${spans(filters)}`] : [];
    if (top) parts.push(`${top} strongest neurons`);
    else if (subset) parts.push(`${region ? "region" : "neurons"} ${subset.slice(0, 6).map((pair) => `(${pair.join(", ")})`).join(" ")}${subset.length > 6 ? " …" : ""}`);
    return parts;
  }
  const severalLayers = new Set(closing.kinds.map((kind) => kind.layer)).size > 1;
  const severalTargets = closing.kinds.some((kind) => kind.target > 1);
  function kindName(kind, target = severalTargets ? `class ${kind.target}` : null) {
    const parts = [kind.method, ...(severalLayers ? [kind.layer] : []), ...selected(kind.selection)];
    if (target !== null) parts.push(target);
    return visible(parts.join(" · "));
  }

  // ---- what is shown

  function look(row) {
    if (chosen.kind < 0) row.map = row.maps.reduce((worst, map) => (worst && worst.worry <= map.worry ? worst : map), null);
    else row.map = row.maps.find((map) => map.kind === chosen.kind) || null;
    row.at = row.map ? row.maps.indexOf(row.map) : -1;
    row.worry = row.worst === 0 ? 0 : row.map ? row.map.worry : OK;
    row.there = chosen.kind < 0 || row.map !== null || row.worst === 0;
  }
  function value(row, column) {
    if (column === "confidence") return row.confidence;
    const found = row.map && row.map.metrics[columns.indexOf(column) - 1];
    return found === undefined ? null : found;
  }
  function passes(row) {
    if (!row.there || (chosen.worry !== null && row.worry !== chosen.worry)) return false;
    if (chosen.label !== null && row.label !== chosen.label) return false;
    if (chosen.text && !row.text.includes(chosen.text)) return false;
    for (const [column, [low, high]] of chosen.ranges) {
      const held = value(row, column);
      if (held === null || held < low || held > high) return false;
    }
    return true;
  }
  const KEYS = { attention: (row) => row.worry, path: (row) => row.number, class: (row) => row.label };
  function order() {
    const key = KEYS[chosen.sort] || ((row) => value(row, chosen.sort));
    const keyed = found.map((row) => [key(row), row]);
    const sign = chosen.down ? -1 : 1;
    const compare = chosen.sort === "class" ? new Intl.Collator("en").compare : (a, b) => a - b;
    keyed.sort(([a, first], [b, second]) => {
      if (a === null || b === null) return (a === null) - (b === null) || first.number - second.number;
      return sign * compare(a, b) || first.number - second.number;
    });
    found = keyed.map(([, row]) => row);
  }
  function update() {
    found = rows.filter(passes);
    order();
    chosen.page = 0;
    const there = rows.filter((row) => row.there).length;
    at("count").textContent = found.length === there ? many(there, "image") : `${found.length.toLocaleString("en")} of ${many(there, "image")}`;
    const narrowed = chosen.worry !== null || chosen.label !== null || chosen.text !== "" || chosen.ranges.size > 0;
    at("reset").hidden = !narrowed;
    at("nothing").hidden = found.length > 0;
    showChips();
    showPage();
    showPlots();
  }

  // ---- the grid

  function showPage() {
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    chosen.page = Math.min(Math.max(0, chosen.page), pages - 1);
    const start = chosen.page * PER_PAGE;
    at("grid").replaceChildren(...found.slice(start, start + PER_PAGE).map(card));
    at("pages").hidden = pages === 1;
    at("page").value = chosen.page + 1;
    at("page").max = pages;
    at("of").textContent = `of ${pages.toLocaleString("en")}`;
    end("before", chosen.page === 0);
    end("after", chosen.page === pages - 1);
  }
  function turn(page) {
    chosen.page = page;
    showPage();
    window.scrollTo(0, at("grid").offsetTop - 24);
  }
  function card(row) {
    const detail = detailOf(row);
    const frame = make("span", { className: "frame" });
    const over = row.map ? drawInto(frame, row, detail, detail.maps[row.at]) : drawInto(frame, row, detail, null);
    const opener = make("button", { type: "button", className: "open", "aria-label": `Details of ${visible(row.path)}` }, frame);
    opener.dataset.number = row.number;
    opener.addEventListener("click", () => show(row));
    const item = make("li", {}, opener);
    if (over) {
      const slider = make("input", { type: "range", min: 0, max: 100, value: chosen.fade, "aria-label": `From image to overlay, ${visible(row.path)}` });
      const fade = () => { over.style.opacity = slider.value / 100; };
      slider.addEventListener("input", fade);
      fade();
      item.append(slider);
    }
    const label = row.label === null ? null : make("p", { className: "class" }, make("bdi", {}, visible(row.label)), " ", make("span", { className: "value" }, percent(row.confidence)));
    const sorted = columns.includes(chosen.sort) && chosen.sort !== "confidence" ? make("p", { className: "class" }, `${words(chosen.sort)} `, make("span", { className: "value" }, number(value(row, chosen.sort)))) : null;
    item.append(make("p", { className: "name" }, name(row.path)), ...[label, sorted].filter(Boolean), badges(row, detail));
    return item;
  }
  /** Draw image and overlay on each other; return the overlay if both are there, so that it can fade. */
  function drawInto(frame, row, detail, map) {
    const empty = (text) => frame.append(make("span", { className: "empty" }, text));
    const { small } = detail.image;
    if (small) frame.append(make("img", { src: picture(small), alt: `Image ${visible(row.path)}`, decoding: "async" }));
    if (map && map.state !== "ok") {
      frame.classList.add("pale");
      empty(EMPTY[map.state]);
      return null;
    }
    const file = map && (map.files.overlay || map.files.heatmap);
    if (!map || !(map.small || file)) {
      if (!small) empty(detail.error ? "not explained" : "no picture");
      return null;
    }
    const over = make("img", { alt: `${visible(map.method)} for ${visible(map.target.label)} on ${visible(row.path)}`, decoding: "async", loading: "lazy" });
    over.src = map.small ? picture(map.small) : file;
    over.addEventListener("error", () => { over.remove(); if (!small) empty("its picture is not beside this page"); });
    frame.append(over);
    return small ? over : null;
  }
  function badges(row, detail) {
    const list = make("div", { className: "badges" });
    const add = (kind, text) => list.append(make("span", { className: `badge ${kind}` }, text));
    if (detail.error) list.append(make("span", { className: "badge failed clamp" }, `failed: ${visible(detail.error.message)}`));
    else if (row.map && row.worry < OK) reasons(row.map).forEach(([kind, text]) => add(kind, text));
    if (detail.image.state !== "same" && !detail.error) add("", detail.image.state === "gone" ? "image not there any more" : "image changed since");
    if (chosen.kind < 0 && closing.kinds.length > 1 && row.map && row.worry < OK) add("", kindName(closing.kinds[row.map.kind], severalTargets ? row.map.target : null));
    return list;
  }
  function reasons(map) {
    const kind = closing.worries[map.worry];
    if (kind !== "suspicious") return map.worry < OK ? [[kind, EMPTY[kind]]] : [];
    const over = ([metric, most]) => map.metrics[closing.columns.indexOf(metric)] > most;
    return Object.entries(closing.suspicious).filter(over).map(([metric]) => [kind, `${words(metric)} ${number(map.metrics[closing.columns.indexOf(metric)])}`]);
  }

  // ---- states, classes, distributions

  function showChips() {
    const counts = closing.worries.map((_, worry) => rows.filter((row) => row.there && row.worry === worry).length);
    const chip = (worry, text, count) => {
      const button = make("button", { type: "button", "aria-pressed": String(chosen.worry === worry) }, text, make("span", {}, count.toLocaleString("en")));
      button.dataset.worry = worry === null ? "all" : closing.worries[worry];
      button.addEventListener("click", () => {
        chosen.worry = worry;
        update();
        at("states").querySelector('[aria-pressed="true"]').focus();
      });
      return button;
    };
    const some = closing.worries.map((kind, worry) => (counts[worry] ? chip(worry, STATES[kind], counts[worry]) : null)).filter(Boolean);
    at("states").replaceChildren(chip(null, "All", counts.reduce((a, b) => a + b, 0)), ...some);
  }
  function listClasses() {
    const counts = new Map();
    for (const { label } of rows) if (label !== null) counts.set(label, (counts.get(label) || 0) + 1);
    const labels = [...counts].sort(([a, m], [b, n]) => n - m || a.localeCompare(b, "en"));
    at("class").replaceChildren(make("option", { value: "" }, "all classes"), ...labels.map(([label, count], i) => make("option", { value: String(i) }, `${visible(label)} (${count})`)));
    at("class").addEventListener("change", ({ target }) => {
      chosen.label = target.value === "" ? null : labels[Number(target.value)][0];
      update();
    });
  }
  const measured = columns.filter((column, i) => rows.some((row) => (i ? row.maps.some((map) => typeof map.metrics[i - 1] === "number") : row.confidence !== null)));
  const plots = new Map();
  function makePlots() {
    for (const column of measured) {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", `0 0 ${BINS * 10} 74`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", `Distribution of ${words(column)}`);
      const middle = make("span");
      const bound = (side) => {
        const input = make("input", { type: "number", step: "any", "aria-label": `${words(column)} ${side}` });
        input.addEventListener("input", () => {
          const low = inputs[0].value === "" ? -Infinity : Number(inputs[0].value);
          const high = inputs[1].value === "" ? Infinity : Number(inputs[1].value);
          if (low === -Infinity && high === Infinity) chosen.ranges.delete(column);
          else chosen.ranges.set(column, [low, high]);
          update();
        });
        return input;
      };
      const inputs = [bound("at least"), bound("at most")];
      const range = make("div", { className: "range" }, inputs[0], "to", inputs[1]);
      at("plots").append(make("figure", { id: `plot-${columns.indexOf(column)}` }, make("figcaption", {}, words(column), middle), svg, range));
      plots.set(column, { svg, middle, inputs });
    }
    at("distributions").hidden = plots.size === 0;
  }
  function showPlots() {
    if (!at("distributions").open) return;
    const here = rows.filter((row) => row.there);
    for (const [column, { svg, middle, inputs }] of plots) {
      const every = here.map((row) => value(row, column)).filter((held) => held !== null);
      const kept = found.map((row) => value(row, column)).filter((held) => held !== null);
      const extent = (reach, from) => every.reduce((a, b) => reach(a, b), from);
      const ends = [extent(Math.min, Infinity), extent(Math.max, -Infinity)];
      let [low, high] = ends;
      if (column === "confidence" || (low >= 0 && high <= 1 && (low === high || high - low > 0.3))) [low, high] = [0, 1];
      else if (low === high) [low, high] = [low - 0.5, high + 0.5];
      const counts = (values) => values.reduce((bins, held) => {
        bins[Math.min(BINS - 1, Math.floor(((held - low) / (high - low || 1)) * BINS))] += 1;
        return bins;
      }, new Array(BINS).fill(0));
      const [all, some] = [counts(every), counts(kept)];
      const tallest = Math.max(1, ...all);
      const bars = (bins, kind) => bins.map((count, i) => {
        const bar = document.createElementNS(svg.namespaceURI, "rect");
        const height = count ? Math.max(1.5, (count / tallest) * 72) : 0;
        for (const [key, held] of Object.entries({ x: i * 10 + 0.75, y: 74 - height, width: 8.5, height, class: kind })) bar.setAttribute(key, held);
        return bar;
      });
      svg.replaceChildren(...bars(all, "every"), ...bars(some, "kept"));
      const sorted = kept.toSorted((a, b) => a - b);
      const median = sorted.length ? sorted[Math.floor((sorted.length - 1) / 2)] : null;
      middle.textContent = sorted.length ? `median ${number(median)}` : "none";
      svg.setAttribute("aria-label", `Distribution of ${words(column)}: ${many(kept.length, "image")}, median ${number(median)}, from ${number(ends[0])} to ${number(ends[1])}`);
      inputs.forEach((input, i) => { input.placeholder = every.length ? number([low, high][i]) : ""; });
    }
  }
  function showTotals() {
    if (!closing.totals.length) return;
    at("evaluation").hidden = false;
    const head = make("tr", {}, ...["metric", "method", "layer"].map((text) => make("th", { scope: "col" }, text)), ...["mean", "95% interval", "images"].map((text) => make("th", { scope: "col", className: "number" }, text)));
    const lines = closing.totals.map((total) => {
      const cells = [words(total.metric), visible(total.method), visible(total.layer)].map((text) => make("td", {}, text));
      const figures = [number(total.mean), `${number(total.low)} to ${number(total.high)}`, total.images.toLocaleString("en")];
      return make("tr", {}, ...cells, ...figures.map((text) => make("td", { className: "number" }, text)));
    });
    at("totals").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
    at("evaluated").replaceWith(pairs(flat(closing.evaluation)));
  }
  function showSanity() {
    if (!closing.sanity) return;
    at("evaluation").hidden = at("sanity").hidden = false;
    const head = ["method", "layer"].map((text) => make("th", { scope: "col" }, text));
    const stages = closing.sanity.stages.map((stage) => make("th", { scope: "col", className: "number" }, `down to ${visible(stage)}`));
    const lines = closing.sanity.survivals.map(({ method, layer, stages: kept, survives }) => {
      const verdict = survives ? make("span", { className: "badge failed" }, "survives: it hardly depends on what was learned") : null;
      return make("tr", {}, make("td", {}, visible(method)), make("td", {}, visible(layer)), ...kept.map((held) => make("td", { className: "number" }, number(held))), make("td", {}, verdict));
    });
    at("survivals").replaceChildren(make("thead", {}, make("tr", {}, ...head, ...stages, make("td"))), make("tbody", {}, ...lines));
  }
  function flat(tree, prefix = "") {
    return Object.entries(tree).flatMap(([key, held]) => {
      const path = visible(prefix + key);
      if (held !== null && typeof held === "object" && !Array.isArray(held)) return flat(held, `${prefix}${key}.`);
      return [[path, visible(typeof held === "string" ? held : JSON.stringify(held))]];
    });
  }

  // ---- one image

  const stage = { cell: null, cells: null, map: null, detail: null, cursor: null, canvas: null };

  function show(row) {
    open = row;
    const detail = detailOf(row);
    at("detail-title").replaceChildren(name(row.path));
    const index = found.indexOf(row);
    end("previous", index <= 0);
    end("next", index < 0 || index === found.length - 1);
    at("maps").replaceChildren(...detail.maps.map((map, i) => mapButton(row, detail, map, i)));
    at("maps").hidden = detail.maps.length < 2;
    showMap(row, detail, Math.max(0, row.at));
    if (!at("detail").open) at("detail").showModal();
    at("detail").scrollTop = 0;
  }
  function mapButton(row, detail, map, i) {
    const frame = make("span", { className: "frame" });
    drawInto(frame, row, { ...detail, image: { ...detail.image, small: null } }, map);
    const button = make("button", { type: "button" }, frame, make("span", {}, kindName(closing.kinds[map.kind], null), make("br"), make("span", { className: "folder" }, visible(map.target.label))));
    button.addEventListener("click", () => showMap(row, detail, i));
    return button;
  }
  function showMap(row, detail, i) {
    const map = detail.maps[i] || null;
    [...at("maps").children].forEach((button, n) => button.setAttribute("aria-pressed", String(n === i)));
    showStage(row, detail, map);
    showFacts(row, detail, map, row.maps[i]);
  }
  function showStage(row, detail, map) {
    const box = at("stage");
    const [width, height] = detail.size || [4, 3];
    box.style.aspectRatio = `${width} / ${height}`;
    box.style.width = `min(100%, calc(62dvh * ${width / height}))`;
    Object.assign(stage, { cell: null, map, detail, cells: map && decodeCells(map) });
    const drawn = map && map.state === "ok";
    const file = drawn && (map.files.overlay || map.files.heatmap);
    const { small, href, state } = detail.image;
    const parts = [];
    if (small) {
      const original = make("img", { src: picture(small), alt: `Image ${visible(row.path)}` });
      if (state === "same" && href.startsWith("./")) {
        const full = new Image();
        full.addEventListener("load", () => { original.src = full.src; });
        full.src = href;
      }
      parts.push(original);
    }
    let over = null;
    if (file || (drawn && map.small)) {
      over = make("img", { alt: `${visible(map.method)} for ${visible(map.target.label)}` });
      over.addEventListener("error", () => { if (map.small && !over.src.startsWith("data:")) over.src = picture(map.small); else over.remove(); });
      over.src = file || picture(map.small);
      parts.push(over);
    } else if (!small) parts.push(make("p", {}, detail.error ? "This image could not be explained." : "There is no picture of this."));
    if (map && !drawn) parts.push(make("p", {}, make("span", { className: "empty" }, EMPTY[map.state])));
    box.classList.toggle("pale", Boolean(map) && !drawn);
    stage.canvas = stage.cells ? drawCells(map, stage.cells) : null;
    if (stage.canvas) parts.push(overCells(stage.canvas, 0, 0, map.grid[0], map.grid[1]));
    if (map) parts.push(...selectedCells(map));
    stage.cursor = make("div", { className: "cell", hidden: true });
    box.replaceChildren(...parts, stage.cursor);
    box.setAttribute("aria-label", map ? `Map of ${map.grid[0]} by ${map.grid[1]} neurons; arrow keys go from one to the next` : "Image");
    stage.over = over;
    at("fade").parentElement.hidden = !(over && small);
    at("neurons").hidden = !stage.cells;
    at("neuron").textContent = map && detail.box ? "Point at the map, or use the arrow keys, to read a neuron." : "";
    fadeStage();
  }
  function fadeStage() {
    const grid = at("neurons").getAttribute("aria-pressed") === "true" && stage.canvas;
    if (stage.canvas) stage.canvas.hidden = !grid;
    if (stage.over) stage.over.style.opacity = grid ? 0 : at("fade").value / 100;
    if (stage.canvas) stage.canvas.style.opacity = at("fade").value / 100;
  }
  /** Left, top, right and bottom of a map, as shares of the image; `box` is those of the network's input. */
  function mapBox(map, [left, top, right, bottom]) {
    const { window } = map;
    if (!window) return [left, top, right, bottom];
    const [across, down] = [right - left, bottom - top];
    return [left + across * window.left, top + down * window.top, left + across * window.right, top + down * window.bottom];
  }
  /** Rows and columns of a map as it lies on the image. */
  const lyingGrid = (map) => (map.window && map.window.transposed ? [map.grid[1], map.grid[0]] : map.grid);
  function flipped(map, [row, column], rowCount, columnCount) {
    const [rows, columns] = lyingGrid(map);
    const { upside_down: upsideDown, mirrored } = map.window || {};
    return [upsideDown ? rows - row - rowCount : row, mirrored ? columns - column - columnCount : column];
  }
  /** Where a neuron of the grid lies on the image, as row and column there; `neuronAt` is the inverse. */
  function lyingAt(map, row, column) {
    return flipped(map, map.window && map.window.transposed ? [column, row] : [row, column], 1, 1);
  }
  function neuronAt(map, row, column) {
    const found = flipped(map, [row, column], 1, 1);
    return map.window && map.window.transposed ? [found[1], found[0]] : found;
  }
  /** Position an element over cells: from a row and column of the grid on, so many of each. */
  function overCells(element, row, column, rowCount, columnCount) {
    const { map, detail } = stage;
    const [left, top, right, bottom] = mapBox(map, detail.box);
    const [gridRows, gridColumns] = lyingGrid(map);
    const swapped = map.window && map.window.transposed;
    const [high, wide] = swapped ? [columnCount, rowCount] : [rowCount, columnCount];
    const [first, start] = flipped(map, swapped ? [column, row] : [row, column], high, wide);
    const percentOf = (share) => `${100 * share}%`;
    element.style.left = percentOf(left + ((right - left) * start) / gridColumns);
    element.style.top = percentOf(top + ((bottom - top) * first) / gridRows);
    element.style.width = percentOf(((right - left) * wide) / gridColumns);
    element.style.height = percentOf(((bottom - top) * high) / gridRows);
    return element;
  }
  function decodeCells(map) {
    if (!map.cells) return null;
    const { low, high, data } = map.cells;
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, i) => {
      const level = view.getUint16(2 * i, true);
      return level === 65535 ? NaN : low + ((high - low) * level) / 65534;
    });
  }
  function drawCells(map, cells) {
    const [height, width] = lyingGrid(map);
    const canvas = make("canvas", { width, height, "aria-hidden": "true" });
    const image = new ImageData(width, height);
    const { floor, ceiling, power } = map.cells;
    cells.forEach((held, i) => {
      const share = Number.isNaN(held) || ceiling <= floor ? 0 : Math.min(1, Math.max(0, (held - floor) / (ceiling - floor))) ** power;
      const colour = Number.isNaN(held) ? [255, 0, 200, 255] : [30 + 225 * share, 20 + 190 * share ** 2, 60 + 60 * share * (1 - share), 235];
      const [row, column] = lyingAt(map, Math.floor(i / map.grid[1]), i % map.grid[1]);
      image.data.set(colour, 4 * (row * width + column));
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }
  function selectedCells(map) {
    const { subset, region } = map.selection;
    if (!subset || !stage.detail.box) return [];
    const mark = () => make("div", { className: "chosen" });
    if (!region) return subset.slice(0, 400).map(([row, column]) => overCells(mark(), row, column, 1, 1));
    const [ups, acrosses] = [subset.map((pair) => pair[0]), subset.map((pair) => pair[1])];
    const [top, left] = [Math.min(...ups), Math.min(...acrosses)];
    return [overCells(mark(), top, left, Math.max(...ups) - top + 1, Math.max(...acrosses) - left + 1)];
  }
  function pointAt(row, column) {
    const { map, cells } = stage;
    stage.cell = [row, column];
    overCells(stage.cursor, row, column, 1, 1).hidden = false;
    const held = cells ? cells[row * map.grid[1] + column] : null;
    let says = map.files.raw ? "value in the raw file" : "no raw map was kept";
    if (held !== null) says = Number.isNaN(held) ? "not finite" : `${number(held)}${map.cells.high > 0 ? `, ${percent(held / map.cells.high)} of the peak` : ""}`;
    at("neuron").textContent = `neuron (${row}, ${column}): ${says}`;
  }
  function follow(event) {
    if (!stage.map || !stage.detail.box) return;
    const area = at("stage").getBoundingClientRect();
    const [left, top, right, bottom] = mapBox(stage.map, stage.detail.box);
    const [gridRows, gridColumns] = lyingGrid(stage.map);
    const across = ((event.clientX - area.left) / area.width - left) / (right - left);
    const down = ((event.clientY - area.top) / area.height - top) / (bottom - top);
    if (across < 0 || across >= 1 || down < 0 || down >= 1) {
      stage.cursor.hidden = true;
      at("neuron").textContent = "The network did not look here.";
    } else pointAt(...neuronAt(stage.map, Math.floor(down * gridRows), Math.floor(across * gridColumns)));
  }
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function step(event) {
    const by = STEPS[event.key];
    if (!by || !stage.map || !stage.detail.box) return;
    event.preventDefault();
    event.stopPropagation();
    const [gridRows, gridColumns] = lyingGrid(stage.map);
    const peak = stage.cells ? stage.cells.reduce((best, held, i) => (held > stage.cells[best] ? i : best), 0) : 0;
    const [row, column] = lyingAt(stage.map, ...(stage.cell || [Math.floor(peak / stage.map.grid[1]), peak % stage.map.grid[1]]));
    const [down, across] = stage.cell ? by : [0, 0];
    const next = [Math.min(gridRows - 1, Math.max(0, row + down)), Math.min(gridColumns - 1, Math.max(0, column + across))];
    pointAt(...neuronAt(stage.map, ...next));
  }
  function showFacts(row, detail, map, measures) {
    const section = (title, ...content) => make("section", {}, make("h3", {}, title), ...content);
    const parts = [];
    if (detail.error) {
      const { stage: where, type, message } = detail.error;
      parts.push(make("section", {}, make("p", { className: "message" }, `Failed at ${visible(where)} (${visible(type)}): ${visible(message)}`)));
    }
    if (measures && measures.worry < OK) parts.push(make("div", { className: "badges" }, ...reasons(measures).map(([kind, text]) => make("span", { className: `badge ${kind}` }, text))), make("br"));
    if (detail.predictions.length) {
      const lines = detail.predictions.map((entry) => {
        const bar = make("b");
        bar.style.width = `${100 * Math.min(1, Math.max(0, entry.probability))}%`;
        return make("li", {}, make("bdi", {}, visible(entry.label)), make("span", {}, percent(entry.probability)), make("i", { "aria-hidden": "true" }, bar));
      });
      parts.push(section("Most likely classes", make("ol", { className: "top" }, ...lines)));
    }
    if (map) {
      const facts = [
        ["method", visible(map.method)], ["layer", visible(map.layer)], ["class", `${visible(map.target.label)} (${map.target.index})`],
        ["feature maps", map.selection.filters ? spans(map.selection.filters) : "all"],
        ["neurons", selected({ ...map.selection, filters: null }).join("") || "all"],
        ["state", { ok: "ok", blank: "blank: nothing speaks for the class", nonfinite: "not finite" }[map.state]],
        ["grid", `${map.grid[0]} × ${map.grid[1]}`], ["values", `${number(map.min)} to ${number(map.max)}`],
        ["noise", visible(map.noise)], ["head", `${map.head}; derivatives ${map.derivatives}`],
        ...(map.guarded_cells ? [["guarded cells", String(map.guarded_cells)]] : []),
        ...measures.metrics.map((held, i) => [words(closing.columns[i]), held]).filter(([, held]) => held !== null).map(([key, held]) => [key, number(held)]),
      ];
      const links = Object.entries(LINKS).filter(([kind]) => map.files[kind]).map(([kind, text]) => link(map.files[kind], text));
      parts.push(section("This map", pairs(facts), make("p", {}, "\u00a0"), make("p", { className: "links" }, ...links)));
    }
    const state = { gone: "It is not there any more.", changed: "It was changed after this run, so it is not shown.", same: null }[detail.image.state];
    const size = detail.size && detail.size[0] ? `${detail.size[0]} × ${detail.size[1]} pixels` : null;
    const lines = [size, ...detail.notes.map(visible), detail.error ? null : state].filter(Boolean).map((text) => make("p", { className: "note" }, text));
    const joint = detail.joint.map(({ href }) => link(href, "all classes in one picture"));
    parts.push(section("Image", ...lines, make("p", { className: "links" }, link(detail.image.href, "open the image"), link(detail.manifest, "manifest"), ...joint)));
    const settings = [["network", visible(detail.model)], ...flat(closing.settings[detail.settings]), ...flat(about.versions || {}, "version ")];
    parts.push(make("details", {}, make("summary", {}, "Settings"), pairs(settings)));
    at("facts").replaceChildren(...parts);
  }
  function walk(by) {
    const next = found[found.indexOf(open) + by];
    if (next) show(next);
  }

  // ---- wiring

  function describe() {
    const model = about.model && about.model.name ? ` through ${visible(about.model.name)}` : "";
    const ended = about.finished ? `, ${new Date(about.finished).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" })}` : "";
    const doubtful = rows.filter((row) => row.worst < OK).length;
    const missing = about.expected - closing.images;
    at("title").textContent = visible(about.root || "Images");
    document.title = `${visible(about.root || "Images")} – saliency report`;
    at("lead").textContent = `${many(rows.length, "image")}${model}, run folder “${visible(about.folder || "")}”${ended}. ${about.state && about.state !== "finished" ? "The run was not complete when this was written. " : ""}${doubtful ? `${many(doubtful, "image")} to look at first: what failed, came out empty or looks unreliable.` : "Nothing failed, came out empty or looks unreliable."}${missing > 0 ? ` ${many(missing, "more image")} in the index could not be read.` : ""}`;
  }
  function restart() {
    rows.forEach(look);
    update();
  }
  function wire() {
    const sorts = [["attention", "what needs a look"], ["path", "file name"], ["class", "class"], ...measured.map((column) => [column, words(column)])];
    at("sort").append(...sorts.map(([key, text]) => make("option", { value: key }, text)));
    at("sort").addEventListener("change", ({ target }) => { chosen.sort = target.value; update(); });
    const direction = () => {
      at("direction").textContent = chosen.down ? "↓" : "↑";
      at("direction").setAttribute("aria-label", chosen.down ? "Highest first" : "Lowest first");
    };
    at("direction").addEventListener("click", () => { chosen.down = !chosen.down; direction(); update(); });
    direction();
    at("kind").append(make("option", { value: "-1" }, "the most doubtful of each image"), ...closing.kinds.map((kind, i) => make("option", { value: String(i) }, kindName(kind))));
    at("kind-label").hidden = closing.kinds.length < 2;
    at("kind").addEventListener("change", ({ target }) => { chosen.kind = Number(target.value); restart(); });
    at("search").addEventListener("input", ({ target }) => { chosen.text = target.value.trim().toLowerCase(); update(); });
    at("all").addEventListener("input", ({ target }) => {
      chosen.fade = Number(target.value);
      for (const slider of at("grid").querySelectorAll('input[type="range"]')) {
        slider.value = chosen.fade;
        slider.dispatchEvent(new Event("input"));
      }
    });
    at("reset").addEventListener("click", () => {
      Object.assign(chosen, { worry: null, text: "", label: null });
      chosen.ranges.clear();
      at("search").value = "";
      at("class").value = "";
      for (const { inputs } of plots.values()) for (const input of inputs) input.value = "";
      update();
      at("search").focus();
    });
    at("distributions").addEventListener("toggle", showPlots);
    at("before").addEventListener("click", () => turn(chosen.page - 1));
    at("after").addEventListener("click", () => turn(chosen.page + 1));
    at("page").addEventListener("change", ({ target }) => turn((Number(target.value) || 1) - 1));
    at("grid").addEventListener("keydown", (event) => {
      if (!event.target.matches(".open") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const openers = [...at("grid").querySelectorAll(".open")];
      const next = openers[openers.indexOf(event.target) + (event.key === "ArrowRight" ? 1 : -1)];
      if (next) { event.preventDefault(); next.focus(); }
    });
    at("close").addEventListener("click", () => at("detail").close());
    at("previous").addEventListener("click", () => walk(-1));
    at("next").addEventListener("click", () => walk(1));
    at("fade").addEventListener("input", fadeStage);
    at("neurons").addEventListener("click", ({ target }) => {
      target.setAttribute("aria-pressed", String(target.getAttribute("aria-pressed") !== "true"));
      fadeStage();
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
      const page = Math.floor(found.indexOf(open) / PER_PAGE);
      if (page >= 0 && page !== chosen.page) turn(page);
      const opener = at("grid").querySelector(`.open[data-number="${open.number}"]`);
      if (opener) opener.focus();
    });
  }

  describe();
  listClasses();
  makePlots();
  showTotals();
  showSanity();
  wire();
  at("distributions").open = window.innerWidth > 820 && plots.size > 0 && plots.size <= 4;
  restart();
  document.documentElement.dataset.ready = "yes";
})();
