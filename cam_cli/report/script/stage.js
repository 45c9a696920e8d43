/** One map at full size over its image: the neuron under the pointer, the grid of neurons, the fade from image to map. */

import { at, exactPercent, make, number, picture, visible } from "./dom.js";

export const EMPTY = { blank: "blank map", nonfinite: "not finite" };
const HOW_TO_READ = window.matchMedia("(pointer: coarse)").matches ? "Touch the map to read a neuron." : "Point at the map, or use the arrow keys, to read a neuron.";
const stage = { cell: null, cells: null, map: null, detail: null, cursor: null, canvas: null, over: null };

export function showStage(row, detail, map) {
  const box = at("stage");
  const [width, height] = detail.size || [4, 3];
  box.style.aspectRatio = `${width} / ${height}`;
  box.style.width = `min(100%, calc(62dvh * ${width / height}))`;
  Object.assign(stage, { cell: null, map, detail, cells: map && decodeCells(map) });
  const drawn = map && map.state === "ok";
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
  const over = drawn ? overlayOf(map) : null;
  if (over) parts.push(over);
  else if (!small) parts.push(make("p", {}, detail.error ? "This image could not be explained." : "There is no picture of this."));
  if (map && !drawn) parts.push(make("p", {}, make("span", { className: "empty" }, EMPTY[map.state])));
  box.classList.toggle("pale", Boolean(map) && !drawn);
  stage.canvas = stage.cells && detail.box ? drawCells(map, stage.cells) : null;
  if (stage.canvas) parts.push(overCells(stage.canvas, 0, 0, map.grid[0], map.grid[1]));
  if (map) parts.push(...selectedCells(map));
  stage.cursor = make("div", { className: "cell", hidden: true });
  box.replaceChildren(...parts, stage.cursor);
  box.setAttribute("aria-label", map ? `Map of ${map.grid[0]} by ${map.grid[1]} neurons; arrow keys go from one to the next` : "Image");
  stage.over = over;
  at("fade").parentElement.hidden = !(over && small);
  at("neurons").hidden = !stage.canvas;
  at("neuron").textContent = map && detail.box ? HOW_TO_READ : "";
  fade();
}

function overlayOf(map) {
  const local = [map.files.overlay, map.files.heatmap].find((file) => file && file.startsWith("./"));
  if (!local && !map.small) return null;
  const over = make("img", { alt: `${visible(map.method)} for ${visible(map.target.label)}` });
  over.addEventListener("error", () => {
    if (map.small && !over.src.startsWith("data:")) over.src = picture(map.small);
    else over.remove();
  });
  over.src = local || picture(map.small);
  return over;
}

export function fade() {
  const grid = at("neurons").getAttribute("aria-pressed") === "true" && stage.canvas;
  const share = at("fade").value / 100;
  if (stage.canvas) {
    stage.canvas.hidden = !grid;
    stage.canvas.style.opacity = share;
  }
  if (stage.over) stage.over.style.opacity = grid ? 0 : share;
}

// ---- where a grid lies on the image

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

// ---- the neurons

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
/** The colour of a share of a map, 0..1, as red, green, blue and opacity. */
export const heat = (share) => [30 + 225 * share, 20 + 190 * share ** 2, 60 + 60 * share * (1 - share), 235];

function drawCells(map, cells) {
  const [height, width] = lyingGrid(map);
  const canvas = make("canvas", { width, height, "aria-hidden": "true" });
  const image = new ImageData(width, height);
  const { floor, ceiling, power } = map.cells;
  cells.forEach((held, i) => {
    const share = Number.isNaN(held) || ceiling <= floor ? 0 : Math.min(1, Math.max(0, (held - floor) / (ceiling - floor))) ** power;
    const [row, column] = lyingAt(map, Math.floor(i / map.grid[1]), i % map.grid[1]);
    image.data.set(Number.isNaN(held) ? [255, 0, 200, 255] : heat(share), 4 * (row * width + column));
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
  if (held !== null) says = Number.isNaN(held) ? "not finite" : `${number(held)}${map.cells.high > 0 ? `, ${exactPercent(held / map.cells.high)} of the peak` : ""}`;
  at("neuron").textContent = `neuron (${row}, ${column}): ${says}`;
}
export function follow(event) {
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
export function step(event) {
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
