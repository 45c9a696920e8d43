(() => {
  // cam_cli/report/script/dom.js
  var at = (id) => document.getElementById(id);
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name2, value2] of Object.entries(properties)) {
      if (name2 in element && name2 !== "list") element[name2] = value2;
      else element.setAttribute(name2, value2);
    }
    element.append(...children.filter((child) => child !== null && child !== void 0));
    return element;
  }
  var INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u2028\u2029]/gu;
  var visible = (text) => String(text).replace(INVISIBLE, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  var count = (value2) => value2.toLocaleString("en");
  var many = (value2, one, several2 = `${one}s`) => `${count(value2)} ${value2 === 1 ? one : several2}`;
  function number(value2) {
    if (value2 === null || value2 === void 0) return "–";
    const size = Math.abs(value2);
    return size && (size < 1e-3 || size >= 1e5) ? value2.toExponential(2) : String(Number(value2.toPrecision(3)));
  }
  var exactPercent = (value2) => value2 === null || value2 === void 0 ? "–" : `${number(100 * value2)}%`;
  function percent(value2) {
    if (value2 === null || value2 === void 0) return "–";
    if (value2 > 0 && value2 < 5e-3) return "<1%";
    if (value2 < 1 && value2 > 0.995) return ">99%";
    return `${Math.round(100 * value2)}%`;
  }
  var link = (href, text) => href.startsWith("./") ? make("a", { href, target: "_blank", rel: "noopener" }, text) : text;
  var picture = (small) => `data:image/webp;base64,${small}`;
  function facts(entries) {
    const list = make("dl", { className: "facts" });
    for (const [name2, value2] of entries) list.append(make("dt", {}, name2), make("dd", {}, value2));
    return list;
  }
  function pathName(path) {
    const cut = path.lastIndexOf("/") + 1;
    return make("bdi", {}, cut ? make("span", { className: "soft" }, visible(path.slice(0, cut))) : null, visible(path.slice(cut)));
  }
  function shortened(text, ending = 14) {
    const characters = [...visible(text)];
    const cut = Math.max(0, characters.length - ending);
    const parts = [characters.slice(0, cut).join(""), characters.slice(cut).join("")];
    return make("span", { className: "short", title: visible(text) }, ...parts.filter(Boolean).map((part2) => make("bdi", {}, part2)));
  }
  var end = (id, reached) => at(id).setAttribute("aria-disabled", String(reached));
  function flat(tree, prefix = "") {
    return Object.entries(tree).flatMap(([key, held2]) => {
      if (held2 === null || held2 === "" || Array.isArray(held2) && !held2.length) return [];
      if (typeof held2 === "object" && !Array.isArray(held2)) return flat(held2, `${prefix}${key}.`);
      return [[visible(prefix + key), visible(typeof held2 === "string" ? held2 : JSON.stringify(held2))]];
    });
  }
  function spans(numbers2) {
    const parts = [];
    for (const n of numbers2) {
      const last = parts.at(-1);
      if (last && last[1] + 1 === n) last[1] = n;
      else parts.push([n, n]);
    }
    return parts.map(([a, b]) => a === b ? a : `${a}-${b}`).join(",");
  }

  // cam_cli/report/script/data.js
  var read = (element) => JSON.parse(element.textContent);
  var about = read(at("about"));
  var closing = read(at("closing"));
  var compares = about.kind === "comparison";
  var OK = closing.worries.indexOf("ok");
  var { confident, unsure } = closing.thresholds;
  var detailOf = (row) => read(at(`image-${row.number}`));
  var namesakes = /* @__PURE__ */ new Map();
  for (const [, label2] of closing.classes) namesakes.set(label2, (namesakes.get(label2) || 0) + 1);
  var labels = closing.classes.map(([, label2, index]) => visible(namesakes.get(label2) > 1 ? `${label2} (${index})` : label2));
  var numbers = new Map(closing.classes.map(([key], i) => [key, i]));
  var className = (number2) => number2 === null ? "none" : labels[number2];
  var classKey = (number2) => closing.classes[number2][0];
  var classOf = (key) => numbers.get(key) ?? null;
  function toRow([path, worst, best, maps, judged2], number2) {
    const { truth = [], unknown = null, correct = null, before = null } = judged2 || {};
    const row = {
      number: number2,
      path,
      worst,
      unknown,
      correct,
      predicted: best ? best[0] : null,
      confidence: best ? best[1] : null,
      truth: truth.map(([of, probability, rank2]) => ({ of, probability, rank: rank2 })),
      before: before && { predicted: before.best ? before.best[0] : null, confidence: before.best ? before.best[1] : null, ...before },
      maps: maps.map(([kind, worry, target, metrics, files = null, way = null], i) => ({ kind, worry, target, metrics, files: files || [i], way }))
    };
    const classes = [row.predicted, before && row.before.predicted, ...row.truth.map(({ of }) => of), ...row.maps.map((map) => map.target)];
    row.classText = row.predicted === null ? null : className(row.predicted);
    row.text = [path, ...[...new Set(classes)].filter((of) => of !== null).map(className)].join("\n").toLowerCase();
    return row;
  }
  var rows = [...document.querySelectorAll("script.rows")].flatMap(read).map(toRow);
  var byPath = new Map(rows.map((row) => [row.path, row]));
  var judged = rows.some((row) => row.correct !== null);
  var doubtful = new Set(closing.doubtful);
  var isDoubtful = (row) => doubtful.has(row.number);
  var SPOKEN = { confidence: "probability of the predicted class", truth: "probability of the true class" };
  var title = (column) => SPOKEN[column] || closing.titles[column] || visible(column).replaceAll("_", " ");
  function value(row, column) {
    if (column === "confidence") return row.confidence;
    if (column === "truth") return row.truth.length ? row.truth[0].probability : null;
    const found2 = row.map && row.map.metrics[closing.columns.indexOf(column)];
    return found2 === void 0 ? null : found2;
  }
  var columns = ["confidence", "truth", ...closing.columns].filter((column) => {
    const at2 = closing.columns.indexOf(column);
    const first2 = {};
    return rows.some((row) => {
      const values = at2 < 0 ? [value(row, column)] : row.maps.map((map) => map.metrics[at2] ?? null);
      return values.some((held2) => {
        if (held2 === null) return false;
        first2.value ??= held2;
        return held2 !== first2.value;
      });
    });
  });
  var metricsOf = (map) => closing.columns.flatMap((column, i) => columns.includes(column) && (map.metrics[i] ?? null) !== null ? [[title(column), map.metrics[i]]] : []);

  // cam_cli/report/script/ways.js
  var analyses = closing.strategies || [];
  var wayId = (analysis, target, number2) => `${analysis}.${number2}.${target}`;
  var members = /* @__PURE__ */ new Map();
  analyses.forEach(({ layer, method }, i) => {
    for (const row of rows) {
      for (const map of row.maps) {
        const kind = closing.kinds[map.kind];
        if (map.way === null || kind.layer !== layer || kind.method !== method) continue;
        const id = wayId(i, classKey(map.target), map.way);
        if (!members.has(id)) members.set(id, /* @__PURE__ */ new Set());
        members.get(id).add(row.number);
      }
    }
  });
  var titles = /* @__PURE__ */ new Map();
  var odd = /* @__PURE__ */ new Set();
  analyses.forEach((analysis, i) => {
    for (const { target, strategies } of analysis.classes) {
      for (const [position, way] of strategies.entries()) {
        const id = wayId(i, target.key, way.number);
        titles.set(id, `way ${position + 1} of looking at ${target.label}`);
        if (way.odd) for (const row of members.get(id) || []) odd.add(row);
      }
    }
  });
  var isOfWay = (row, id) => members.has(id) && members.get(id).has(row.number);
  var wayTitle = (id) => titles.get(id) || "an unknown way of looking";
  var isOdd = (row) => odd.has(row.number);

  // cam_cli/report/script/chips.js
  var [FAILED, NONFINITE, BLANK, SUSPICIOUS] = ["failed", "nonfinite", "blank", "suspicious"].map((worry) => closing.worries.indexOf(worry));
  var wrong = (row) => row.correct === false;
  var isUnsure = (row) => row.correct === true && row.confidence < unsure;
  var was = (row) => row.before ? row.before.correct : null;
  var OF_A_RUN = {
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
    ok: { text: "Nothing unusual", holds: (row) => row.worry === OK && !wrong(row) && !isUnsure(row) && !isDoubtful(row) && !isOdd(row) }
  };
  var OF_A_COMPARISON = {
    broke: { text: "Broke", help: "right in A, wrong in B", holds: (row) => was(row) === true && wrong(row) },
    fixed: { text: "Fixed", help: "wrong in A, right in B", holds: (row) => was(row) === false && row.correct === true },
    both: { text: "Wrong in both", holds: (row) => was(row) === false && wrong(row) },
    changed: { text: "Other class", help: "A and B predict different classes", holds: (row) => row.before.changed },
    newblank: { text: "Newly blank", holds: (row) => row.before.newlyBlank },
    newfailed: { text: "Newly failed", holds: (row) => row.before.newlyFailed },
    right: { text: "Right in both", holds: (row) => was(row) === true && row.correct === true }
  };
  var CHIPS = compares ? OF_A_COMPARISON : OF_A_RUN;
  function verdict(row) {
    if (compares) return ["broke", "fixed", "both"].find((name2) => CHIPS[name2].holds(row)) || (row.correct === true ? "right" : "");
    if (row.worst === FAILED) return "failed";
    if (row.correct === null) return row.worry < OK ? "doubt" : "";
    return wrong(row) ? "wrong" : "right";
  }
  var FIRST = ["broke", "newfailed", "newblank", "changed"];
  function changeOf(row) {
    const kind = FIRST.findIndex((name2) => CHIPS[name2].holds(row));
    return (kind < 0 ? FIRST.length : kind) * rows.length + row.number;
  }
  function urgency(row) {
    if (compares) return changeOf(row);
    if (wrong(row)) return 1 - row.confidence;
    if (row.worry < OK) return 2 + row.worry;
    if (isDoubtful(row) || isOdd(row)) return 10;
    return judged && row.correct === true ? 11 + row.confidence : 12 + (judged ? 1 : 0);
  }

  // cam_cli/report/script/maps.js
  var ROLES = { predicted: "predicted class", true: "true class" };
  var baseOf = closing.kinds.map(({ method, layer, selection }) => JSON.stringify([method, layer, selection]));
  var bases = [...new Set(baseOf)];
  var severalLayers = new Set(closing.kinds.map((kind) => kind.layer)).size > 1;
  function selected({ filters, region, subset, top }) {
    const parts = filters ? [`filters ${spans(filters)}`] : [];
    if (top) parts.push(`${top} strongest neurons`);
    else if (subset) parts.push(`${region ? "region" : "neurons"} ${subset.slice(0, 6).map((pair) => `(${pair.join(", ")})`).join(" ")}${subset.length > 6 ? " …" : ""}`);
    return parts;
  }
  var neuronsOf = (selection) => selected({ ...selection, filters: null }).join("") || "all";
  function kindName(number2) {
    const { method, layer, selection } = closing.kinds[number2];
    return visible([method, ...severalLayers ? [layer] : [], ...selected(selection)].join(" · "));
  }
  function rolesOf(row, map) {
    if (compares) return [""];
    const roles = [];
    if (map.target === row.predicted) roles.push("predicted");
    if (row.truth.some(({ of }) => of === map.target)) roles.push("true");
    return roles.length ? roles : [`${closing.kinds[map.kind].target}`];
  }
  function roleName(row, map) {
    const roles = rolesOf(row, map);
    if (roles.length === 2) return "predicted and true class";
    return ROLES[roles[0]] || className(map.target);
  }
  var choices = /* @__PURE__ */ new Map();
  for (const row of rows) {
    for (const map of row.maps) for (const role of rolesOf(row, map)) choices.set(`${bases.indexOf(baseOf[map.kind])}:${role}`, map.kind);
  }
  var several = new Set([...choices.keys()].map((key) => key.split(":")[1])).size > 1 && !compares;
  var ORDER = ["predicted", "true"];
  var rank = (key) => {
    const [base, role] = key.split(":");
    return Number(base) * 1e3 + (ORDER.includes(role) ? ORDER.indexOf(role) : 1 + Number(role));
  };
  var kinds = [...choices].sort(([a], [b]) => rank(a) - rank(b)).map(([key, number2]) => {
    const role = key.split(":")[1];
    return [key, several ? `${kindName(number2)} · ${ROLES[role] || `class ${role}`}` : kindName(number2)];
  });
  var severalKinds = bases.length > 1;
  function look(row, kind) {
    if (!kind) row.map = row.maps.reduce((worst, map) => worst && worst.worry <= map.worry ? worst : map, null);
    else row.map = row.maps.find((map) => rolesOf(row, map).some((role) => `${bases.indexOf(baseOf[map.kind])}:${role}` === kind)) || null;
    row.worry = row.worst === 0 ? 0 : row.map ? row.map.worry : OK;
    row.there = !kind || row.map !== null || row.worst === 0;
    row.pair = row.map && !compares && !kind.endsWith(":true") ? pairOf(row) : null;
  }
  function pairOf(row) {
    if (row.correct !== false) return null;
    const alike = row.maps.filter((map) => baseOf[map.kind] === baseOf[row.map.kind]);
    const predicted = alike.find((map) => map.target === row.predicted);
    const truth = alike.find((map) => row.truth.some(({ of }) => of === map.target) && map !== predicted);
    return predicted && truth ? [predicted, truth] : null;
  }

  // cam_cli/report/script/state.js
  var VIEWS = ["images", "table", "confusion", "classes", "ways", "figures"];
  var NOTHING = { view: "images", show: null, text: "", predicted: null, truth: null, way: null, kind: "", sort: "attention", down: false, page: 0, image: null };
  var asked = { ...NOTHING, ranges: /* @__PURE__ */ new Map(), fade: 100 };
  var found = [];
  var listeners = [];
  var onChange = (listener) => listeners.push(listener);
  function passes(row) {
    if (!row.there || asked.show !== null && !CHIPS[asked.show].holds(row)) return false;
    if (asked.predicted !== null && row.predicted !== asked.predicted) return false;
    if (asked.truth !== null && !row.truth.some(({ of }) => of === asked.truth)) return false;
    if (asked.way !== null && !isOfWay(row, asked.way)) return false;
    if (asked.text && !row.text.includes(asked.text)) return false;
    for (const [column, [low, high]] of asked.ranges) {
      const held2 = value(row, column);
      if (held2 === null || held2 < low || held2 > high) return false;
    }
    return true;
  }
  var collator = new Intl.Collator("en");
  var KEYS = {
    attention: (row) => urgency(row),
    path: (row) => compares ? row.path : row.number,
    class: (row) => row.classText
  };
  var alphabetical = (a, b) => collator.compare(a, b);
  var numerical = (a, b) => a - b;
  function ordered(some) {
    const key = KEYS[asked.sort] || ((row) => value(row, asked.sort));
    const sign = asked.down ? -1 : 1;
    const compare = asked.sort === "class" || asked.sort === "path" && compares ? alphabetical : numerical;
    const keyed = some.map((row) => [key(row), row]);
    keyed.sort(([a, first2], [b, second]) => {
      if (a === null || b === null) return (a === null) - (b === null) || first2.number - second.number;
      return sign * compare(a, b) || first2.number - second.number;
    });
    return keyed.map(([, row]) => row);
  }
  function ask(changes, { back = false, page = 0 } = {}) {
    const kindBefore = asked.kind;
    Object.assign(asked, changes, { page: changes.page ?? page });
    if (asked.kind !== kindBefore) rows.forEach((row) => look(row, asked.kind));
    refresh();
    remember(back);
  }
  function bound(column, low, high) {
    if (low === -Infinity && high === Infinity) asked.ranges.delete(column);
    else asked.ranges.set(column, [low, high]);
    ask({});
  }
  function clear() {
    asked.ranges.clear();
    ask({ show: null, text: "", predicted: null, truth: null, way: null });
  }
  var narrowed = () => asked.show !== null || asked.text !== "" || asked.predicted !== null || asked.truth !== null || asked.way !== null || asked.ranges.size > 0;
  function refresh() {
    found = ordered(rows.filter(passes));
    listeners.forEach((listener) => listener());
  }
  function address() {
    const words = new URLSearchParams();
    for (const key of ["view", "show", "text", "way", "kind", "sort", "image"]) if (asked[key] !== NOTHING[key]) words.set(key, asked[key]);
    for (const key of ["predicted", "truth"]) if (asked[key] !== null) words.set(key, classKey(asked[key]));
    if (asked.down) words.set("order", "down");
    if (asked.page) words.set("page", asked.page + 1);
    for (const [column, [low, high]] of asked.ranges) words.set(`.${column}`, [low, high].map((side) => Number.isFinite(side) ? side : "").join(".."));
    return words.toString();
  }
  function remember(back = false) {
    const words = address();
    if (words === window.location.hash.slice(1)) return;
    window.history[back ? "pushState" : "replaceState"](null, "", `#${words}`);
  }
  function readAddress() {
    const words = new URLSearchParams(window.location.hash.slice(1));
    Object.assign(asked, NOTHING);
    asked.ranges.clear();
    for (const [key, held2] of words) {
      if (key === "view" && VIEWS.includes(held2)) asked.view = held2;
      else if (key === "show" && Object.hasOwn(CHIPS, held2)) asked.show = held2;
      else if (key === "predicted" || key === "truth") asked[key] = classOf(held2);
      else if (key === "text" || key === "way" || key === "image") asked[key] = held2;
      else if (key === "kind" && kinds.some(([name2]) => name2 === held2)) asked.kind = held2;
      else if (key === "sort" && (Object.hasOwn(KEYS, held2) || columns.includes(held2))) asked.sort = held2;
      else if (key === "order") asked.down = held2 === "down";
      else if (key === "page") asked.page = Math.max(0, Math.floor(Number(held2) || 1) - 1);
      else if (key.startsWith(".") && columns.includes(key.slice(1))) {
        const [low, high] = held2.split("..").map((side) => side === "" || side === void 0 ? NaN : Number(side));
        asked.ranges.set(key.slice(1), [Number.isNaN(low) ? -Infinity : low, Number.isNaN(high) || high === void 0 ? Infinity : high]);
      }
    }
  }
  function start() {
    const load = () => {
      readAddress();
      rows.forEach((row) => look(row, asked.kind));
      refresh();
    };
    window.addEventListener("popstate", load);
    load();
  }

  // cam_cli/report/script/bar.js
  var NAMES = { images: "Images", table: "Table", confusion: "Confusion", classes: "Classes", ways: "Ways of looking", figures: "Figures" };
  var HAS = { confusion: judged, ways: analyses.length > 0 && !compares, figures: columns.length > 0 || closing.totals.length > 0 };
  var views = VIEWS.filter((view) => HAS[view] ?? true);
  function makeViews() {
    at("views").append(...views.map((view) => {
      const button = make("button", { type: "button" }, NAMES[view]);
      button.dataset.view = view;
      button.addEventListener("click", () => ask({ view }, { back: true }));
      return button;
    }));
  }
  function showChips() {
    const here = rows.filter((row) => row.there);
    const chip = (name2, text, some2, help = "") => {
      const button = make("button", { type: "button", "aria-pressed": String(asked.show === name2) }, text, make("span", {}, count(some2)));
      if (help) button.title = help;
      button.dataset.chip = name2 ?? "all";
      button.addEventListener("click", () => {
        ask({ show: asked.show === name2 ? null : name2, ...["images", "table"].includes(asked.view) ? {} : { view: "images" } });
        at("chips").querySelector(`[data-chip="${name2 ?? "all"}"]`)?.focus();
      });
      return button;
    };
    const some = Object.entries(CHIPS).map(([name2, { text, help, holds }]) => [name2, text, here.filter(holds).length, help]);
    const scrolled = at("chips").scrollLeft;
    at("chips").replaceChildren(chip(null, "All", here.length), ...some.filter(([name2, , held2]) => held2 || asked.show === name2).map((parts) => chip(...parts)));
    at("chips").scrollLeft = scrolled;
  }
  function listClasses(id, classesOf, every) {
    const counts = /* @__PURE__ */ new Map();
    for (const row of rows) for (const of of classesOf(row)) counts.set(of, (counts.get(of) || 0) + 1);
    const options = [...counts].sort(([a, m], [b, n]) => n - m || className(a).localeCompare(className(b), "en"));
    at(id).replaceChildren(make("option", { value: "" }, every), ...options.map(([of, held2]) => make("option", { value: String(of) }, `${className(of)} (${held2})`)));
    at(`${id}-label`).hidden = counts.size === 0;
    at(id).addEventListener("change", ({ target }) => ask({ [id]: target.value === "" ? null : Number(target.value) }));
  }
  function token(text, remove) {
    const button = make("button", { type: "button", className: "token", "aria-label": `Remove filter: ${text}` }, text, make("span", { "aria-hidden": "true" }, "✕"));
    button.addEventListener("click", () => {
      remove();
      at("search").focus({ preventScroll: true });
    });
    return button;
  }
  function tokens() {
    const found2 = [];
    if (asked.text) found2.push(token(`“${visible(asked.text)}”`, () => ask({ text: "" })));
    if (asked.truth !== null) found2.push(token(`true class: ${className(asked.truth)}`, () => ask({ truth: null })));
    if (asked.predicted !== null) found2.push(token(`predicted: ${className(asked.predicted)}`, () => ask({ predicted: null })));
    if (asked.way !== null) found2.push(token(wayTitle(asked.way), () => ask({ way: null })));
    for (const [column, [low, high]] of asked.ranges) {
      const from = Number.isFinite(low) ? `from ${number(low)} ` : "";
      found2.push(token(`${title(column)} ${from}${Number.isFinite(high) ? `to ${number(high)}` : ""}`.trim(), () => bound(column, -Infinity, Infinity)));
    }
    return found2;
  }
  function showDirection() {
    at("direction").textContent = asked.down ? "↓" : "↑";
    const [first2, reversed] = { attention: ["Most urgent first", "Least urgent first"], path: ["A to Z", "Z to A"], class: ["A to Z", "Z to A"] }[asked.sort] || ["Lowest first", "Highest first"];
    at("direction").setAttribute("aria-label", asked.down ? reversed : first2);
    at("direction").title = at("direction").getAttribute("aria-label");
  }
  function showBar() {
    for (const button of at("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === asked.view));
    showChips();
    const there = rows.filter((row) => row.there).length;
    at("count").textContent = found.length === there ? many(there, "image") : `${count(found.length)} of ${many(there, "image")}`;
    at("status").hidden = !["images", "table"].includes(asked.view) && !narrowed();
    at("tokens").replaceChildren(...tokens());
    at("reset").hidden = !narrowed();
    at("exported").textContent = "";
    if (document.activeElement !== at("search")) at("search").value = asked.text;
    for (const id of ["predicted", "truth"]) at(id).value = asked[id] === null ? "" : String(asked[id]);
    at("sort").value = asked.sort;
    at("kind").value = asked.kind;
    showDirection();
    const filters = [asked.predicted, asked.truth, asked.way].filter((held2) => held2 !== null).length + asked.ranges.size + (asked.kind ? 1 : 0);
    at("more").textContent = filters ? `Filters (${filters})` : "Filters";
  }
  function wireBar() {
    makeViews();
    listClasses("predicted", (row) => row.predicted === null ? [] : [row.predicted], compares ? "any class in B" : "any predicted class");
    listClasses("truth", (row) => row.truth.map(({ of }) => of), "any true class");
    const sorts = [["attention", compares ? "largest change" : "what needs a look"], ["path", "file name"], ["class", "predicted class"], ...columns.map((column) => [column, title(column)])];
    at("sort").append(...sorts.map(([key, text]) => make("option", { value: key }, text)));
    at("sort").addEventListener("change", ({ target }) => ask({ sort: target.value }));
    at("direction").addEventListener("click", () => ask({ down: !asked.down }));
    at("kind").append(make("option", { value: "" }, compares ? "the most changed of each image" : "the most doubtful of each image"), ...kinds.map(([key, name2]) => make("option", { value: key }, name2)));
    at("kind-label").hidden = kinds.length < 2;
    at("kind").addEventListener("change", ({ target }) => ask({ kind: target.value }));
    at("search").addEventListener("input", ({ target }) => ask({ text: target.value.trim().toLowerCase() }));
    at("all").addEventListener("input", ({ target }) => {
      asked.fade = Number(target.value);
      for (const slider2 of at("grid").querySelectorAll('input[type="range"]')) {
        slider2.value = asked.fade;
        slider2.dispatchEvent(new Event("input"));
      }
    });
    at("reset").addEventListener("click", () => {
      clear();
      at("search").focus({ preventScroll: true });
    });
    at("more").addEventListener("click", () => openFilters(at("panel").hidden));
  }
  function openFilters(open2) {
    at("panel").hidden = !open2;
    at("more").setAttribute("aria-expanded", String(open2));
    at("bar").classList.toggle("opened", open2);
  }

  // cam_cli/report/script/stage.js
  var EMPTY = { blank: "blank map", nonfinite: "not finite" };
  var HOW_TO_READ = window.matchMedia("(pointer: coarse)").matches ? "Touch the map to read a neuron." : "Point at the map, or use the arrow keys, to read a neuron.";
  var stage = { cell: null, cells: null, map: null, detail: null, cursor: null, canvas: null, over: null };
  function showStage(row, detail, map) {
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
        full.addEventListener("load", () => {
          original.src = full.src;
        });
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
  function fade() {
    const grid = at("neurons").getAttribute("aria-pressed") === "true" && stage.canvas;
    const share = at("fade").value / 100;
    if (stage.canvas) {
      stage.canvas.hidden = !grid;
      stage.canvas.style.opacity = share;
    }
    if (stage.over) stage.over.style.opacity = grid ? 0 : share;
  }
  function mapBox(map, [left, top, right, bottom]) {
    const { window: window2 } = map;
    if (!window2) return [left, top, right, bottom];
    const [across, down] = [right - left, bottom - top];
    return [left + across * window2.left, top + down * window2.top, left + across * window2.right, top + down * window2.bottom];
  }
  var lyingGrid = (map) => map.window && map.window.transposed ? [map.grid[1], map.grid[0]] : map.grid;
  function flipped(map, [row, column], rowCount, columnCount) {
    const [rows2, columns2] = lyingGrid(map);
    const { upside_down: upsideDown, mirrored } = map.window || {};
    return [upsideDown ? rows2 - row - rowCount : row, mirrored ? columns2 - column - columnCount : column];
  }
  function lyingAt(map, row, column) {
    return flipped(map, map.window && map.window.transposed ? [column, row] : [row, column], 1, 1);
  }
  function neuronAt(map, row, column) {
    const found2 = flipped(map, [row, column], 1, 1);
    return map.window && map.window.transposed ? [found2[1], found2[0]] : found2;
  }
  function overCells(element, row, column, rowCount, columnCount) {
    const { map, detail } = stage;
    const [left, top, right, bottom] = mapBox(map, detail.box);
    const [gridRows, gridColumns] = lyingGrid(map);
    const swapped = map.window && map.window.transposed;
    const [high, wide] = swapped ? [columnCount, rowCount] : [rowCount, columnCount];
    const [first2, start2] = flipped(map, swapped ? [column, row] : [row, column], high, wide);
    const percentOf = (share) => `${100 * share}%`;
    element.style.left = percentOf(left + (right - left) * start2 / gridColumns);
    element.style.top = percentOf(top + (bottom - top) * first2 / gridRows);
    element.style.width = percentOf((right - left) * wide / gridColumns);
    element.style.height = percentOf((bottom - top) * high / gridRows);
    return element;
  }
  function decodeCells(map) {
    if (!map.cells) return null;
    const { low, high, data } = map.cells;
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, i) => {
      const level = view.getUint16(2 * i, true);
      return level === 65535 ? NaN : low + (high - low) * level / 65534;
    });
  }
  var heat = (share) => [30 + 225 * share, 20 + 190 * share ** 2, 60 + 60 * share * (1 - share), 235];
  function drawCells(map, cells2) {
    const [height, width] = lyingGrid(map);
    const canvas = make("canvas", { width, height, "aria-hidden": "true" });
    const image = new ImageData(width, height);
    const { floor, ceiling, power } = map.cells;
    cells2.forEach((held2, i) => {
      const share = Number.isNaN(held2) || ceiling <= floor ? 0 : Math.min(1, Math.max(0, (held2 - floor) / (ceiling - floor))) ** power;
      const [row, column] = lyingAt(map, Math.floor(i / map.grid[1]), i % map.grid[1]);
      image.data.set(Number.isNaN(held2) ? [255, 0, 200, 255] : heat(share), 4 * (row * width + column));
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
    const { map, cells: cells2 } = stage;
    stage.cell = [row, column];
    overCells(stage.cursor, row, column, 1, 1).hidden = false;
    const held2 = cells2 ? cells2[row * map.grid[1] + column] : null;
    let says = map.files.raw ? "value in the raw file" : "no raw map was kept";
    if (held2 !== null) says = Number.isNaN(held2) ? "not finite" : `${number(held2)}${map.cells.high > 0 ? `, ${exactPercent(held2 / map.cells.high)} of the peak` : ""}`;
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
  var STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function step(event) {
    const by = STEPS[event.key];
    if (!by || !stage.map || !stage.detail.box) return;
    event.preventDefault();
    event.stopPropagation();
    const [gridRows, gridColumns] = lyingGrid(stage.map);
    const peak = stage.cells ? stage.cells.reduce((best, held2, i) => held2 > stage.cells[best] ? i : best, 0) : 0;
    const [row, column] = lyingAt(stage.map, ...stage.cell || [Math.floor(peak / stage.map.grid[1]), peak % stage.map.grid[1]]);
    const [down, across] = stage.cell ? by : [0, 0];
    const next = [Math.min(gridRows - 1, Math.max(0, row + down)), Math.min(gridColumns - 1, Math.max(0, column + across))];
    pointAt(...neuronAt(stage.map, ...next));
  }

  // cam_cli/report/script/pictures.js
  function imageFrame(row, detail) {
    const frame = make("span", { className: "frame" });
    if (detail.image.small) frame.append(imageOf(row, detail));
    else frame.append(make("span", { className: "empty" }, detail.error ? "not explained" : "no picture"));
    return frame;
  }
  var imageOf = (row, detail) => make("img", { src: picture(detail.image.small), alt: `Image ${visible(row.path)}`, decoding: "async" });
  function mapFrame(row, detail, map, bare2 = false) {
    const frame = make("span", { className: "frame" });
    const small = bare2 ? null : detail.image.small;
    if (small) frame.append(imageOf(row, detail));
    const empty = (text) => frame.append(make("span", { className: "empty" }, text));
    if (map.state !== "ok") {
      frame.classList.add("pale");
      empty(EMPTY[map.state]);
      return frame;
    }
    const file = [map.files.overlay, map.files.heatmap].find((name2) => name2 && name2.startsWith("./"));
    if (!map.small && !file) {
      if (!small) empty("no picture");
      return frame;
    }
    const over = make("img", { alt: `${visible(map.method)} for ${visible(map.target.label)} on ${visible(row.path)}`, decoding: "async", loading: "lazy" });
    over.src = map.small ? picture(map.small) : file;
    over.addEventListener("error", () => {
      over.remove();
      if (!small) empty("its picture is not beside this page");
    });
    if (small) over.classList.add("over");
    frame.append(over);
    return frame;
  }
  function reasons(map) {
    const kind = closing.worries[map.worry];
    if (kind !== "suspicious") return map.worry < OK ? [[kind, EMPTY[kind]]] : [];
    const held2 = (metric) => map.metrics[closing.columns.indexOf(metric)];
    const beyond = Object.entries(closing.suspicious).filter(([metric, most3]) => held2(metric) > most3);
    return beyond.map(([metric]) => [kind, `${title(metric)} ${number(held2(metric))}`]);
  }
  var badge = (kind, text) => make("span", { className: `badge ${kind}` }, text);
  var named = (of, kind = "") => make("b", { className: kind }, make("bdi", {}, className(of)));

  // cam_cli/report/script/views/grid.js
  function showGrid(rows2, open2) {
    const details = rows2.map(detailOf);
    const shapes = details.map(({ size }) => size && size[0] / size[1]).filter(Boolean).sort((a, b) => a - b);
    at("grid").style.setProperty("--shape", Math.min(16 / 9, Math.max(4 / 5, shapes[shapes.length >> 1] || 4 / 3)));
    at("grid").replaceChildren(...rows2.map((row, i) => card(row, details[i], open2)));
  }
  function card(row, detail, open2) {
    const frames = framesOf(row, detail);
    const opener = make("button", { type: "button", className: "open", "aria-label": `Details of ${visible(row.path)}` }, ...frames);
    opener.dataset.number = row.number;
    opener.addEventListener("click", () => open2(row));
    const picture2 = make("div", { className: "pictures" }, opener);
    const overlays = [...opener.querySelectorAll(".over")];
    if (overlays.length) picture2.append(slider(row, overlays));
    const item = make("li", { className: `card ${verdict(row)}${frames.length > 1 ? ` frames-${frames.length}` : ""}` }, picture2);
    const name2 = make("p", { className: "name" }, shortened(row.path));
    if (compares) item.append(make("div", { className: "text three" }, make("div", {}, shouldBe(row), name2, figure(row), badges(row, detail)), ...sayings(row)));
    else item.append(make("div", { className: "text" }, saying(row), name2, figure(row), badges(row, detail)));
    return item;
  }
  function slider(row, overlays) {
    const input = make("input", { type: "range", min: 0, max: 100, value: asked.fade, "aria-label": `From image to overlay, ${visible(row.path)}` });
    const fade2 = () => overlays.forEach((over) => {
      over.style.opacity = input.value / 100;
    });
    input.addEventListener("input", fade2);
    fade2();
    return input;
  }
  function framesOf(row, detail) {
    const captioned = (frame, text) => {
      frame.append(make("span", { className: "caption" }, text));
      return frame;
    };
    if (compares) {
      const sides = sidesOf(row, detail);
      const frame = (map) => map ? mapFrame(row, detail, map) : imageFrame(row, { ...detail, image: { small: null } });
      return [captioned(imageFrame(row, detail), "image"), ...sides.map((map, i) => captioned(frame(map), "AB"[i]))];
    }
    if (row.pair) return row.pair.map((map, i) => captioned(mapFrame(row, detail, detail.maps[map.files[0]]), i ? "true class" : "predicted class"));
    return [row.map ? mapFrame(row, detail, detail.maps[row.map.files[0]]) : imageFrame(row, detail)];
  }
  function sidesOf(row, detail) {
    if (row.map) return row.map.files.map((file) => detail.maps[file]);
    return ["A", "B"].map((side) => detail.maps.find((map) => map.side === side) || null);
  }
  var part = (of, probability, kind) => [named(of, kind), " ", make("span", { className: "value" }, percent(probability))];
  function shouldBe(row) {
    if (!row.truth.length) return null;
    const names = row.truth.flatMap(({ of }, i) => i ? [" and ", named(of)] : [named(of)]);
    return make("p", { className: "says" }, row.correct === false || row.before.correct === false ? "should be " : "is ", ...names);
  }
  function sayings(row) {
    const says = ({ predicted, confidence, correct }) => predicted === null ? ["failed"] : part(predicted, confidence, { true: "good", false: "bad" }[correct] || "");
    return [row.before, row].map((side) => make("p", { className: "says" }, ...says(side)));
  }
  function saying(row) {
    if (compares) {
      const [a, b] = sayings(row);
      return make("p", { className: "says" }, "A ", ...a.childNodes, " · B ", ...b.childNodes, ...row.truth.length ? [" · ", ...shouldBe(row).childNodes] : []);
    }
    const line3 = make("p", { className: "says" });
    if (row.predicted === null) {
      if (row.truth.length) line3.append("should be ", named(row.truth[0].of));
      return line3;
    }
    line3.append(...part(row.predicted, row.confidence, row.correct === false ? "bad" : ""));
    if (row.correct === false) {
      const others = row.truth.filter(({ of }) => of !== row.predicted || row.truth.length === 1);
      line3.append(" – should be ");
      others.forEach(({ of, probability }, i) => line3.append(...i ? [" and "] : [], ...probability === null ? [named(of)] : part(of, probability, "")));
      if (!row.truth.length) line3.append("no class");
    }
    return line3;
  }
  function figure(row) {
    const { sort } = asked;
    if (!closing.columns.includes(sort)) return null;
    return make("p", { className: "soft" }, `${title(sort)} `, make("span", { className: "value" }, number(value(row, sort))));
  }
  function badges(row, detail) {
    const list = make("div", { className: "badges" });
    const add = (kind, text) => list.append(badge(kind, text));
    if (detail.error) add("failed clamp", `failed: ${visible(detail.error.message)}`);
    else if (row.map && row.worry < OK) reasons(row.map).forEach(([kind, text]) => add(kind, text));
    for (const name2 of compares ? ["broke", "fixed", "both", "newblank", "newfailed"] : ["doubtful", "odd"]) {
      if (CHIPS[name2].holds(row)) add(name2, CHIPS[name2].text.toLowerCase());
    }
    if (row.unknown !== null) add("", row.unknown ? `unknown label ${visible(row.unknown)}` : "no label");
    if (detail.image.state !== "same" && !detail.error) add("", detail.image.state === "gone" ? "image not there any more" : "image changed since");
    if (!asked.kind && !compares && row.map && row.worry < OK) {
      const role = row.map.target === row.predicted ? null : `${roleName(row, row.map)} ${className(row.map.target)}`;
      const parts = [severalKinds ? kindName(row.map.kind) : null, role].filter(Boolean);
      if (parts.length) add("", parts.join(" · "));
    }
    return list.children.length ? list : null;
  }

  // cam_cli/report/script/detail.js
  var LINKS = { overlay: "overlay", heatmap: "heatmap", figure: "figure", raw: "raw map (.npy)" };
  var open = null;
  var onClose = () => {
  };
  function show(row) {
    open = row;
    asked.image = row.path;
    remember();
    const detail = detailOf(row);
    at("detail-title").replaceChildren(pathName(row.path));
    at("detail-says").replaceChildren(...saying(row).childNodes);
    const index = found.indexOf(row);
    end("previous", index <= 0);
    end("next", index < 0 || index === found.length - 1);
    at("position").textContent = index < 0 ? "" : `${(index + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
    at("maps").replaceChildren(...detail.maps.map((map, i) => mapButton(row, detail, map, i)));
    at("maps").hidden = detail.maps.length < 2;
    const first2 = row.pair ? row.pair[0] : row.map;
    showMap(row, detail, compares ? detail.maps.indexOf(sidesOf(row, detail)[1]) : first2 ? first2.files[0] : 0);
    if (!at("detail").open) at("detail").showModal();
    at("detail").scrollTop = 0;
  }
  var measuresOf = (row, i) => row.maps.find((map) => map.files.includes(i)) || null;
  var classOf2 = (map) => `${visible(map.target.label)}${map.against.length ? `, rather than ${map.against.map(({ label: label2 }) => visible(label2)).join(", ")}` : ""}`;
  function mapButton(row, detail, map, i) {
    const measures = measuresOf(row, i);
    const role = compares ? map.side : measures && roleName(row, measures);
    const name2 = compares ? visible(map.method) : severalKinds && measures ? kindName(measures.kind) : null;
    const label2 = make("span", {}, make("b", {}, role || visible(map.method)), name2 ? make("br") : null, name2, make("br"), make("span", { className: "soft" }, classOf2(map)));
    const button = make("button", { type: "button" }, mapFrame(row, detail, map, true), label2);
    button.addEventListener("click", () => showMap(row, detail, i));
    return button;
  }
  function showMap(row, detail, i) {
    const map = detail.maps[i] || null;
    [...at("maps").children].forEach((button, n) => button.setAttribute("aria-pressed", String(n === i)));
    showStage(row, detail, map);
    showFacts(row, detail, map, measuresOf(row, i));
  }
  var section = (title2, ...content) => make("section", {}, make("h3", {}, title2), ...content);
  function predictions(entries, row, title2) {
    const isTrue = (entry) => row.truth.some(({ of }) => closing.classes[of][2] === entry.index && closing.classes[of][1] === entry.label);
    const lines2 = entries.map((entry) => {
      const bar = make("b");
      bar.style.width = `${100 * Math.min(1, Math.max(0, entry.probability))}%`;
      const name2 = make("span", {}, make("bdi", {}, visible(entry.label)), isTrue(entry) ? badge("fixed", "true class") : null);
      return make("li", { className: isTrue(entry) ? "good" : "" }, name2, make("span", {}, exactPercent(entry.probability)), make("i", { "aria-hidden": "true" }, bar));
    });
    return section(title2, make("ol", { className: "top" }, ...lines2));
  }
  function truthFacts(row) {
    if (!row.truth.length && row.unknown === null) return null;
    const lines2 = row.truth.map(({ of, probability, rank: rank2 }) => {
      const parts = [rank2 ? `rank ${rank2}` : null, probability === null ? null : exactPercent(probability)].filter(Boolean);
      return [className(of), parts.join(", ") || "not among the recorded predictions"];
    });
    if (row.unknown !== null) lines2.push(["unknown label", visible(row.unknown) || "none"]);
    return section(row.truth.length > 1 ? "True classes" : "True class", facts(lines2));
  }
  function mapFacts(row, map, measures) {
    const lines2 = [
      ["method", visible(map.method)],
      ["layer", visible(map.layer)],
      ["class", `${visible(map.target.label)} (${map.target.index})${measures && !compares ? `, ${roleName(row, measures)}` : ""}`],
      ...map.against.length ? [["rather than", map.against.map(({ label: label2, index }) => `${visible(label2)} (${index})`).join(", ")]] : [],
      ["feature maps", map.selection.filters ? spans(map.selection.filters) : "all"],
      ["neurons", neuronsOf(map.selection)],
      ["state", { ok: "ok", blank: "blank: nothing speaks for the class", nonfinite: "not finite" }[map.state]],
      ["grid", `${map.grid[0]} × ${map.grid[1]}`],
      ["values", `${number(map.min)} to ${number(map.max)}`],
      ["noise", visible(map.noise)],
      ["head", `${map.head}; derivatives ${map.derivatives}`],
      ...map.guarded_cells ? [["guarded cells", String(map.guarded_cells)]] : [],
      ...measures ? metricsOf(measures).map(([name2, held2]) => [name2, number(held2)]) : []
    ];
    const links = Object.entries(LINKS).filter(([kind]) => map.files[kind]).map(([kind, text]) => link(map.files[kind], text));
    return section(compares ? `The map of ${map.side}` : "This map", facts(lines2), make("p", { className: "links" }, ...links));
  }
  function showFacts(row, detail, map, measures) {
    const parts = [];
    for (const { stage: stage2, type, message, side } of [detail.error].flat().filter(Boolean)) {
      parts.push(make("p", { className: "message" }, `${side ? `${side} failed` : "Failed"} at ${visible(stage2)} (${visible(type)}): ${visible(message)}`));
    }
    if (measures && measures.worry < OK) parts.push(make("div", { className: "badges" }, ...reasons(measures).map(([kind, text]) => badge(kind, text))));
    const lists = compares ? detail.predictions : [detail.predictions];
    lists.forEach((entries, i) => {
      if (entries.length) parts.push(predictions(entries, row, compares ? `Most likely classes in ${"AB"[i]}` : "Most likely classes"));
    });
    parts.push(truthFacts(row));
    if (map) parts.push(mapFacts(row, map, measures));
    const state = { gone: "It is not there any more.", changed: "It was changed after this run, so it is not shown.", same: null }[detail.image.state];
    const size = detail.size && detail.size[0] ? `${detail.size[0]} × ${detail.size[1]} pixels` : null;
    const notes = [size, ...detail.notes.map(visible), detail.error ? null : state].filter(Boolean).map((text) => make("p", { className: "note" }, text));
    const manifests = [detail.manifest].flat().map((href, i, all) => link(href, all.length > 1 ? `manifest of ${"AB"[i]}` : "manifest"));
    const joint = detail.joint.map(({ href }) => link(href, "all classes in one picture"));
    parts.push(section("Image", ...notes, make("p", { className: "links" }, link(detail.image.href, "open the image"), ...manifests, ...joint)));
    const settings = [detail.settings].flat().map((of, i, all) => flat(closing.settings[of], all.length > 1 ? `${"AB"[i]} ` : ""));
    const versions = flat(about.versions || {}, "version ");
    parts.push(make("details", {}, make("summary", {}, "Settings"), facts([["network", visible(detail.model)], ...settings.flat(), ...versions])));
    at("facts").replaceChildren(...parts.filter(Boolean));
  }
  function walk(by) {
    const next = found[found.indexOf(open) + by];
    if (next && found.includes(open)) show(next);
  }
  function wireDetail(closed2) {
    onClose = closed2;
    at("close").addEventListener("click", () => at("detail").close());
    at("previous").addEventListener("click", () => walk(-1));
    at("next").addEventListener("click", () => walk(1));
    at("fade").addEventListener("input", fade);
    at("neurons").addEventListener("click", ({ currentTarget }) => {
      currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true"));
      fade();
    });
    at("stage").addEventListener("pointermove", follow);
    at("stage").addEventListener("pointerdown", follow);
    at("stage").addEventListener("keydown", step);
    at("detail").addEventListener("click", (event) => {
      if (event.target === at("detail")) at("detail").close();
    });
    at("detail").addEventListener("keydown", (event) => {
      if (event.target.matches("input, select, summary")) return;
      if (event.key === "ArrowLeft") walk(-1);
      else if (event.key === "ArrowRight") walk(1);
    });
    at("detail").addEventListener("close", () => {
      asked.image = null;
      remember();
      if (open) onClose(open);
    });
  }
  function followAddress() {
    const row = asked.image === null ? null : byPath.get(asked.image);
    if (row && (!at("detail").open || open !== row)) show(row);
    else if (!row && at("detail").open) at("detail").close();
  }

  // cam_cli/report/script/export.js
  var quoted = (held2) => {
    const bare2 = held2 === null || held2 === void 0 ? "" : String(held2);
    const text = typeof held2 === "string" && /^[=+@-]/.test(held2) ? `'${bare2}` : bare2;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  var label = (of) => of === null ? "" : className(of);
  var first = (row) => row.truth[0] || { of: null, probability: null };
  var HEAD = compares ? ["path", "predicted_a", "probability_a", "predicted_b", "probability_b", "truth", "correct_a", "correct_b"] : ["path", "status", "predicted", "probability", "truth", "truth_probability", "correct"];
  var cells = (row) => compares ? [row.path, label(row.before.predicted), row.before.confidence, label(row.predicted), row.confidence, label(first(row).of), row.before.correct, row.correct] : [row.path, row.worst === 0 ? "failed" : "ok", label(row.predicted), row.confidence, row.truth.map(({ of }) => label(of)).join("; "), first(row).probability, row.correct];
  var paths = () => found.map((row) => `${row.path}
`).join("");
  var table = () => [HEAD, ...found.map(cells)].map((line3) => `${line3.map(quoted).join(",")}\r
`).join("");
  function save(text, ending, type) {
    const name2 = `${(about.folder || "images").replace(/[^\w.-]+/g, "_")}-${found.length}.${ending}`;
    const href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    const anchor = make("a", { href, download: name2 });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
    setTimeout(() => URL.revokeObjectURL(href), 1e4);
    told(`Saved ${name2}.`);
  }
  function told(text) {
    at("exported").textContent = text;
    at("export").open = false;
  }
  function wireExport() {
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

  // cam_cli/report/script/headline.js
  var held = (name2) => rows.filter(CHIPS[name2].holds).length;
  var bare = (share) => percent(share).replace("%", "");
  var day = (time) => time ? new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" }) : "";
  var run = (side) => [visible(side.folder), side.model && side.model.name ? visible(side.model.name) : null, day(side.finished || side.started)].filter(Boolean).join(", ");
  function ofARun() {
    const failed = held("failed");
    const { accuracy } = closing;
    const doubtful2 = ["nonfinite", "blank", "suspicious"].map((name2) => [held(name2), { nonfinite: "not finite", blank: "blank", suspicious: "suspicious" }[name2]]).filter(([some]) => some).map(([some, text]) => `${count(some)} ${text}`);
    const maps = doubtful2.length ? `Maps: ${doubtful2.join(", ")}.` : "No map is blank or suspicious.";
    if (judged && accuracy) {
      const { right, images, low, high } = accuracy;
      const wrong2 = held("wrong");
      const confident2 = held("confident");
      const rest = [`${count(wrong2)} wrong`, ...wrong2 ? [`${confident2 ? count(confident2) : "none"} of them with over ${percent(closing.thresholds.confident)} confidence`] : [], `${count(failed)} failed`];
      const unknown2 = held("unknown");
      if (unknown2) rest.push(`${count(unknown2)} without a known class`);
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
  function showHeadline() {
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

  // cam_cli/report/script/keyboard.js
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
    return beyond.reduce((best, element) => best && distance(best) <= distance(element) ? best : element, void 0);
  }
  var ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
  function arrows(id, selector) {
    at(id).addEventListener("keydown", (event) => {
      if (!ARROWS.includes(event.key) || !event.target.matches(selector)) return;
      const next = neighbour([...at(id).querySelectorAll(selector)], event.target, event.key);
      event.preventDefault();
      if (next) next.focus();
    });
  }
  function wireKeyboard(turn2) {
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
      "[": () => turn2(asked.page - 1),
      "]": () => turn2(asked.page + 1),
      "?": () => at("keys").showModal()
    };
    views.forEach((view, i) => {
      keys[String(i + 1)] = () => ask({ view }, { back: true });
    });
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

  // cam_cli/report/script/views/classes.js
  var order = { column: "accuracy", down: false };
  var FEW = 100;
  var lines = null;
  var most = FEW;
  function gather() {
    const found2 = new Map(closing.by_class.map(([of, right, images, low, high]) => [of, { of, right, images, low, high, accuracy: right / images, predicted: 0, sum: 0, taken: /* @__PURE__ */ new Map() }]));
    for (const row of rows) {
      if (row.predicted === null) continue;
      if (!found2.has(row.predicted)) found2.set(row.predicted, { of: row.predicted, right: null, images: 0, low: null, high: null, accuracy: null, predicted: 0, sum: 0, taken: /* @__PURE__ */ new Map() });
      const as = found2.get(row.predicted);
      as.predicted += 1;
      as.sum += row.confidence;
      if (row.correct === false && row.truth.length) {
        const { taken } = found2.get(row.truth[0].of) || as;
        taken.set(row.predicted, (taken.get(row.predicted) || 0) + 1);
      }
    }
    return [...found2.values()].map((one) => ({ ...one, confidence: one.predicted ? one.sum / one.predicted : null, most: [...one.taken].sort(([, m], [, n]) => n - m)[0] || null }));
  }
  var known = closing.by_class.length > 0;
  var COLUMNS = [
    ["class", (one) => className(one.of), false],
    ...known ? [["images", (one) => one.images, true], ["accuracy", (one) => one.accuracy, true]] : [],
    ["predicted", (one) => one.predicted, true],
    ["mean probability", (one) => one.confidence, true]
  ];
  function showClasses() {
    if (lines) return;
    lines = gather();
    if (!known) Object.assign(order, { column: "predicted", down: true });
    at("classes-lead").textContent = known ? "Lowest accuracy first; intervals are 95% (Wilson). Choose a class to see its images." : "No true class is known, so this counts predictions only. Choose a class to see its images.";
    at("find-class").addEventListener("input", draw);
    at("more-classes").addEventListener("click", () => {
      most = Infinity;
      draw();
      at("per-class").querySelectorAll("tbody th button")[FEW]?.focus();
    });
    draw();
  }
  function draw() {
    const [, key] = COLUMNS.find(([name2]) => name2 === order.column);
    const words = at("find-class").value.trim().toLowerCase();
    const sign = order.down ? -1 : 1;
    const some = lines.filter(({ of }) => className(of).toLowerCase().includes(words)).sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === null || b === null) return (a === null) - (b === null) || one.of - other.of;
      return sign * (typeof a === "string" ? a.localeCompare(b, "en") : a - b) || other.images - one.images || one.of - other.of;
    });
    const head = ([name2, , numeric]) => {
      const sorted = order.column === name2;
      const button = make("button", { type: "button", className: "plain" }, `${name2}${sorted ? order.down ? " ↓" : " ↑" : ""}`);
      button.dataset.sort = name2;
      button.addEventListener("click", () => {
        Object.assign(order, { column: name2, down: sorted ? !order.down : numeric && name2 !== "accuracy" });
        draw();
        at("per-class").querySelector(`[data-sort="${name2}"]`).focus();
      });
      const th = make("th", { scope: "col", className: numeric ? "number" : "" }, button);
      if (sorted) th.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      return th;
    };
    const heads2 = COLUMNS.map(head);
    if (known) heads2.splice(3, 0, make("th", { scope: "col" }, "95% interval"), make("th", { scope: "col" }, "most often taken for"));
    at("per-class").replaceChildren(make("thead", {}, make("tr", {}, ...heads2)), make("tbody", {}, ...some.slice(0, most).map(line)));
    at("more-classes").hidden = some.length <= most;
    at("more-classes").textContent = `Show all ${count(some.length)} classes`;
  }
  var figure2 = (text) => make("td", { className: "number" }, text);
  function line(one) {
    const filter = (text, changes, name3) => {
      const button = make("button", { type: "button", className: "plain", "aria-label": name3 }, text);
      button.addEventListener("click", () => ask({ view: "images", show: null, predicted: null, truth: null, ...changes }, { back: true }));
      return button;
    };
    const name2 = className(one.of);
    const parts = [make("th", { scope: "row" }, filter(name2, one.images ? { truth: one.of } : { predicted: one.of }, `Images of ${name2}`))];
    if (known) {
      const meter = make("span", { className: "interval", "aria-hidden": "true" }, make("b"), make("i"));
      if (one.images) {
        const [bar, point] = meter.children;
        bar.style.left = `${100 * one.low}%`;
        bar.style.width = `${100 * (one.high - one.low)}%`;
        point.style.left = `${100 * one.accuracy}%`;
      }
      const taken = one.most && filter(`${className(one.most[0])} (${count(one.most[1])})`, { truth: one.of, predicted: one.most[0] }, `Images of ${name2} taken for ${className(one.most[0])}`);
      const interval = one.images ? `${percent(one.low)} to ${percent(one.high)}` : "";
      parts.push(figure2(one.images ? count(one.images) : ""), figure2(one.images ? `${count(one.right)} of ${count(one.images)}, ${percent(one.accuracy)}` : ""));
      parts.push(make("td", {}, one.images ? make("span", { className: "with-meter" }, meter, interval) : ""), make("td", {}, taken));
    }
    const predicted = one.predicted ? filter(count(one.predicted), { predicted: one.of }, `Images predicted as ${name2}`) : "0";
    parts.push(make("td", { className: "number" }, predicted), figure2(percent(one.confidence)));
    return make("tr", {}, ...parts);
  }

  // cam_cli/report/script/views/confusion.js
  var PAIRS = 30;
  var IN_MATRIX = 14;
  var ready = false;
  var most2 = PAIRS;
  function pairsOf() {
    const pairs = /* @__PURE__ */ new Map();
    const counts = /* @__PURE__ */ new Map();
    for (const row of rows) {
      if (!row.truth.length || row.predicted === null) continue;
      const of = row.truth[0].of;
      counts.set(of, (counts.get(of) || 0) + 1);
      if (row.correct !== false) continue;
      const key = `${of}>${row.predicted}`;
      if (!pairs.has(key)) pairs.set(key, { of, as: row.predicted, rows: [] });
      pairs.get(key).rows.push(row);
    }
    const mean = (some) => some.reduce((sum, row) => sum + row.confidence, 0) / some.length;
    const found2 = [...pairs.values()].map((pair) => ({ ...pair, mean: mean(pair.rows), images: counts.get(pair.of) }));
    return found2.sort((a, b) => b.rows.length - a.rows.length || b.mean - a.mean);
  }
  var only = (truth, predicted) => ask({ view: "images", show: null, truth, predicted }, { back: true });
  function showConfusion() {
    if (ready) return;
    ready = true;
    const pairs = pairsOf();
    const total = pairs.reduce((sum, pair) => sum + pair.rows.length, 0);
    const side = compares ? " in B" : "";
    at("confusion-lead").textContent = pairs.length ? `${many(total, "image")} wrong${side}, in ${many(pairs.length, "pair")} of classes. Choose a pair to see its images.` : `No image of known class is wrong${side}.`;
    const longest = pairs.length ? pairs[0].rows.length : 1;
    const draw2 = () => {
      at("pairs").replaceChildren(...pairs.slice(0, most2).map((pair) => line2(pair, longest)));
      at("more-pairs").hidden = most2 >= pairs.length;
      at("more-pairs").textContent = `Show all ${count(pairs.length)} pairs`;
    };
    at("more-pairs").addEventListener("click", () => {
      const first2 = most2;
      most2 = pairs.length;
      draw2();
      at("pairs").children[first2]?.querySelector("button").focus();
    });
    draw2();
    showMatrix(pairs);
  }
  function line2({ of, as, rows: some, mean, images }, longest) {
    const bar = make("b");
    bar.style.width = `${100 * some.length / longest}%`;
    const thumbnails = some.slice(0, 4).map((row) => detailOf(row).image.small).filter(Boolean).map((small) => make("img", { src: picture(small), alt: "", loading: "lazy" }));
    const words = make("span", { className: "pair" }, make("bdi", {}, className(of)), make("span", { className: "soft" }, " taken for "), make("bdi", { className: "bad" }, className(as)));
    const figures = make("span", { className: "soft figures" }, `${count(some.length)} of ${many(images, "image")}, mean probability ${percent(mean)}`);
    const button = make("button", { type: "button", className: "line" }, make("span", { className: "words" }, words, make("i", { className: "meter", "aria-hidden": "true" }, bar), figures), make("span", { className: "thumbnails" }, ...thumbnails));
    button.addEventListener("click", () => only(of, as));
    return make("li", {}, button);
  }
  function showMatrix(pairs) {
    const classes = [...new Set(pairs.flatMap(({ of, as }) => [of, as]))].slice(0, IN_MATRIX);
    at("matrix-part").hidden = classes.length < 3;
    if (classes.length < 3) return;
    const cells2 = /* @__PURE__ */ new Map();
    for (const row of rows) {
      if (!row.truth.length || row.predicted === null) continue;
      const key = `${row.truth[0].of}>${row.predicted}`;
      cells2.set(key, (cells2.get(key) || 0) + 1);
    }
    const highest = Math.max(...classes.flatMap((of) => classes.map((as) => cells2.get(`${of}>${as}`) || 0)));
    const cell = (of, as) => {
      const held2 = cells2.get(`${of}>${as}`) || 0;
      if (!held2) return make("td", {});
      const says = `${many(held2, "image")} of ${className(of)} predicted as ${className(as)}`;
      const button = make("button", { type: "button", className: `cell-count ${of === as ? "good" : "bad"}`, "aria-label": says, title: says }, count(held2));
      button.style.setProperty("--share", `${Math.round(15 + 70 * held2 / highest)}%`);
      button.addEventListener("click", () => only(of, as));
      return make("td", {}, button);
    };
    const head = make("tr", {}, make("td", { className: "corner" }, "true ↓ predicted →"), ...classes.map((as) => make("th", { scope: "col" }, make("span", {}, className(as)))));
    const lines2 = classes.map((of) => make("tr", {}, make("th", { scope: "row", title: visible(className(of)) }, className(of)), ...classes.map((as) => cell(of, as))));
    at("matrix").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines2));
  }

  // cam_cli/report/script/views/figures.js
  var BINS = 24;
  var plots = /* @__PURE__ */ new Map();
  function svgElement(name2, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name2);
    for (const [key, held2] of Object.entries(attributes)) element.setAttribute(key, held2);
    return element;
  }
  function makeFigures() {
    for (const column of columns) {
      const svg = svgElement("svg", { viewBox: `0 0 ${BINS * 10} 74`, preserveAspectRatio: "none", role: "img", "aria-label": `Distribution of ${title(column)}` });
      const middle = make("span");
      const inputs = ["at least", "at most"].map((side) => make("input", { type: "number", step: "any", inputMode: "decimal", "aria-label": `${title(column)} ${side}` }));
      const changed = () => {
        const [low, high] = inputs.map((input) => input.value === "" ? null : Number(input.value));
        bound(column, low ?? -Infinity, high ?? Infinity);
      };
      inputs.forEach((input) => input.addEventListener("input", changed));
      at("plots").append(make("figure", {}, make("figcaption", {}, title(column), middle), svg, make("div", { className: "range" }, inputs[0], "to", inputs[1])));
      plots.set(column, { svg, middle, inputs });
    }
    showMeasured();
    showTotals();
    showSanity();
  }
  function showFigures() {
    const here = rows.filter((row) => row.there);
    for (const [column, { svg, middle, inputs }] of plots) {
      const [low, high] = asked.ranges.get(column) || [-Infinity, Infinity];
      [low, high].forEach((side, i) => {
        if (document.activeElement !== inputs[i]) inputs[i].value = Number.isFinite(side) ? side : "";
      });
      drawPlot(column, svg, middle, inputs, here);
    }
  }
  function drawPlot(column, svg, middle, inputs, here) {
    const values = (some2) => some2.map((row) => value(row, column)).filter((held2) => held2 !== null);
    const [every, kept] = [values(here), values(found)];
    const ends = every.reduce(([a, b], held2) => [Math.min(a, held2), Math.max(b, held2)], [Infinity, -Infinity]);
    let [low, high] = ends;
    if (["confidence", "truth"].includes(column) || low >= 0 && high <= 1 && (low === high || high - low > 0.3)) [low, high] = [0, 1];
    else if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const counts = (some2) => some2.reduce((bins, held2) => {
      bins[Math.min(BINS - 1, Math.floor((held2 - low) / (high - low || 1) * BINS))] += 1;
      return bins;
    }, new Array(BINS).fill(0));
    const [all, some] = [counts(every), counts(kept)];
    const tallest = Math.max(1, ...all);
    const bars = (bins, kind) => bins.map((held2, i) => {
      const height = held2 ? Math.max(1.5, held2 / tallest * 72) : 0;
      return svgElement("rect", { x: i * 10 + 0.75, y: 74 - height, width: 8.5, height, class: kind });
    });
    svg.replaceChildren(...bars(all, "every"), ...bars(some, "kept"));
    const sorted = kept.toSorted((a, b) => a - b);
    const median = sorted.length ? sorted[Math.floor((sorted.length - 1) / 2)] : null;
    middle.textContent = sorted.length ? `median ${number(median)}` : "none";
    svg.setAttribute("aria-label", `Distribution of ${title(column)}: ${many(kept.length, "image")}, median ${number(median)}, from ${number(ends[0])} to ${number(ends[1])}`);
    inputs.forEach((input, i) => {
      input.placeholder = every.length ? number([low, high][i]) : "";
    });
  }
  function showMeasured() {
    const { top5, calibration_error: error } = closing.measured;
    const lines2 = [];
    if (top5) lines2.push(["top-5 accuracy", `${exactPercent(top5.share)} (${exactPercent(top5.low)} to ${exactPercent(top5.high)})`]);
    if (error !== null && error !== void 0) lines2.push(["expected calibration error", number(error)]);
    if (!lines2.length) return;
    at("evaluation").hidden = false;
    at("measured").replaceChildren(facts(lines2));
  }
  var heads = (texts, numeric = false) => texts.map((text) => make("th", { scope: "col", className: numeric ? "number" : "" }, text));
  var ofNoise = ({ metric, low, high }) => ["noise_effect", "standard_error"].includes(metric) && low === high;
  function showTotals() {
    const totals = closing.totals.filter((total) => !ofNoise(total));
    if (!totals.length) return;
    at("evaluation").hidden = false;
    const head = make("tr", {}, ...heads(["metric", "method", "layer"]), ...heads(["mean", "95% interval", "images"], true));
    const lines2 = totals.map((total) => {
      const cells2 = [title(total.metric), visible(total.method), visible(total.layer)].map((text) => make("td", {}, text));
      const figures = [number(total.mean), `${number(total.low)} to ${number(total.high)}`, count(total.images)];
      return make("tr", {}, ...cells2, ...figures.map((text) => make("td", { className: "number" }, text)));
    });
    at("totals").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines2));
    at("evaluated").replaceChildren(facts(flat(closing.evaluation)));
  }
  function showSanity() {
    if (!closing.sanity) return;
    at("evaluation").hidden = at("sanity").hidden = false;
    const stages = heads(closing.sanity.stages.map((stage2) => `down to ${visible(stage2)}`), true);
    const lines2 = closing.sanity.survivals.map(({ method, layer, stages: kept, survives }) => {
      const verdict2 = survives ? make("span", { className: "badge failed" }, "survives: it hardly depends on what was learned") : null;
      const figures = kept.map((held2) => make("td", { className: "number" }, number(held2)));
      return make("tr", {}, make("td", {}, visible(method)), make("td", {}, visible(layer)), ...figures, make("td", {}, verdict2));
    });
    at("survivals").replaceChildren(make("thead", {}, make("tr", {}, ...heads(["method", "layer"]), ...stages, make("td"))), make("tbody", {}, ...lines2));
  }

  // cam_cli/report/script/views/table.js
  var name = (of) => make("td", {}, of === null ? "" : make("bdi", {}, className(of)));
  var figure3 = (text) => make("td", { className: "number" }, text);
  var VERDICTS = { wrong: "wrong", right: "right", failed: "failed", broke: "broke", fixed: "fixed", both: "wrong in both" };
  var OF_A_RUN2 = [
    ["predicted", "class", (row) => name(row.predicted)],
    ["probability", "confidence", (row) => figure3(exactPercent(row.confidence))],
    ["true class", null, (row) => make("td", {}, row.truth.map(({ of }) => className(of)).join(", ") || (row.unknown ? `? ${visible(row.unknown)}` : ""))],
    ["its probability", "truth", (row) => figure3(row.truth.length ? exactPercent(row.truth[0].probability) : "")],
    ["rank", null, (row) => figure3(row.truth.length && row.truth[0].rank ? row.truth[0].rank : "")]
  ];
  var OF_A_COMPARISON2 = [
    ["A", null, (row) => name(row.before.predicted)],
    ["probability", null, (row) => figure3(exactPercent(row.before.confidence))],
    ["B", "class", (row) => name(row.predicted)],
    ["probability", "confidence", (row) => figure3(exactPercent(row.confidence))],
    ["true class", null, (row) => make("td", {}, row.truth.map(({ of }) => className(of)).join(", "))]
  ];
  var shown = null;
  function columnsOf(rows2) {
    const some = (compares ? OF_A_COMPARISON2 : OF_A_RUN2).filter(([head]) => !/true|rank|its/.test(head) || rows2.some((row) => row.truth.length || row.unknown));
    const metrics = columns.filter((column) => closing.columns.includes(column)).map((column) => [title(column), column, (row) => figure3(number(value(row, column)))]);
    return [...some, ["", "attention", (row) => make("td", {}, make("span", { className: `badge ${verdict(row)}` }, VERDICTS[verdict(row)] || closing.worries[row.worry]))], ...metrics];
  }
  function showTable(rows2, every, open2) {
    shown ??= columnsOf(every);
    const head = ([text, sort, cell]) => {
      const numeric = /number/.test(cell(every[0] || rows2[0])?.className || "");
      const sorted = sort !== null && asked.sort === sort;
      const th = make("th", { scope: "col", className: numeric ? "number" : "" });
      if (sorted) th.setAttribute("aria-sort", asked.down ? "descending" : "ascending");
      if (sort === null) th.append(text);
      else {
        const button = make("button", { type: "button", className: "plain" }, `${text || "attention"}${sorted ? asked.down ? " ↓" : " ↑" : ""}`);
        button.dataset.sort = sort;
        button.addEventListener("click", () => {
          ask({ sort, down: sorted ? !asked.down : numeric });
          at("table").querySelector(`[data-sort="${CSS.escape(sort)}"]`).focus();
        });
        th.append(button);
      }
      return th;
    };
    const line3 = (row) => {
      const detail = detailOf(row);
      const small = row.map && detail.maps[row.map.files.at(-1)]?.small || detail.image.small;
      const thumbnail2 = small ? make("img", { src: picture(small), alt: "", loading: "lazy", decoding: "async" }) : make("span", { className: "none" });
      const opener = make("button", { type: "button", className: "plain open", "aria-label": `Details of ${visible(row.path)}` }, thumbnail2, shortened(row.path));
      opener.dataset.number = row.number;
      opener.addEventListener("click", () => open2(row));
      return make("tr", { className: verdict(row) }, make("th", { scope: "row" }, opener), ...shown.map(([, , cell]) => cell(row)));
    };
    const path = head(["image", "path", () => null]);
    at("table").replaceChildren(make("thead", {}, make("tr", {}, path, ...shown.map(head))), make("tbody", {}, ...rows2.map(line3)));
  }

  // cam_cli/report/script/views/ways.js
  var TYPICAL = 4;
  var ready2 = false;
  function showWays(open2) {
    if (ready2) return;
    ready2 = true;
    const parts = analyses.flatMap((analysis, i) => {
      const { layer, method, classes, together, fewest, left_out: leftOut } = analysis;
      const flagged = classes.filter((one) => one.flagged).length;
      const title2 = `${visible(method)}, ${visible(layer)}`;
      const apart = flagged ? `${count(flagged)} with a way that stands apart` : "no way stands apart";
      const enough = `${many(classes.length, "class", "classes")} of at least ${many(fewest, "image")}${leftOut ? `, ${count(leftOut)} with fewer left out` : ""}; ${apart}.`;
      const lead = classes.length ? enough : `No class has ${many(fewest, "image")}, so none is looked at by itself.`;
      const shown2 = [...classes, ...together ? [together] : []];
      return [make("header", { className: "part" }, make("h2", {}, title2), make("p", { className: "soft" }, lead)), ...shown2.map((one) => ofClass(one, i, open2))];
    });
    at("ways").replaceChildren(...parts);
  }
  function ofClass(one, analysis, open2) {
    const { target, flagged, strategies, images, blank, p_value: p } = one;
    const number2 = target ? classOf(target.key) : null;
    const name2 = number2 === null ? target ? visible(target.label) : "All images together" : className(number2);
    const notes = [many(images, "image"), blank ? `${count(blank)} blank` : null, strategies.length === 1 ? "one way of looking" : `${count(strategies.length)} ways of looking`, p === null || p === void 0 ? null : `p = ${p}`];
    const head = make("header", {}, make("h3", {}, name2, flagged ? make("span", { className: "badge odd" }, "a way that stands apart") : null), make("p", { className: "soft" }, notes.filter(Boolean).join(" · ")));
    return make("section", { className: `way-class${flagged ? " flagged" : ""}` }, head, make("ul", { className: "way-list" }, ...strategies.map((way, i) => ofWay(way, i + 1, target, analysis, name2, open2))));
  }
  function ofWay(way, position, target, analysis, name2, open2) {
    const accuracy = way.accuracy === null || !judged ? "" : `, ${percent(way.accuracy)} right`;
    const inner = [meanMap(way.mean_map), make("span", { className: "words" }, make("b", {}, `Way ${position}`), make("span", {}, `${many(way.size, "image")}${accuracy}`), make("span", { className: "soft" }, `likeness ${percent(way.likeness)}${way.odd ? ", stands apart" : ""}`))];
    const item = make("li", { className: way.odd ? "odd" : "" });
    if (target) {
      const button = make("button", { type: "button", className: "line", "aria-label": `Images of way ${position} of looking at ${name2}` }, ...inner);
      button.addEventListener("click", () => ask({ view: "images", show: null, predicted: null, truth: null, way: wayId(analysis, target.key, way.number) }, { back: true }));
      item.append(button);
    } else item.append(make("div", { className: "line" }, ...inner));
    const typical = way.typical.map((path) => byPath.get(path)).filter(Boolean).slice(0, TYPICAL);
    item.append(make("div", { className: "thumbnails" }, ...typical.map((row) => thumbnail(row, open2))));
    return item;
  }
  function thumbnail(row, open2) {
    const detail = detailOf(row);
    const map = row.maps.find((one) => one.way !== null);
    const small = map && detail.maps[map.files[0]].small || detail.image.small;
    const button = make("button", { type: "button", className: "small", "aria-label": `Details of ${visible(row.path)}`, title: visible(row.path) });
    if (small) button.append(make("img", { src: picture(small), alt: "", loading: "lazy" }));
    button.addEventListener("click", () => open2(row));
    return button;
  }
  function meanMap(values) {
    const [height, width] = [values.length, values[0]?.length || 0];
    const canvas = make("canvas", { className: "mean", width: Math.max(1, width), height: Math.max(1, height), role: "img", "aria-label": "mean map" });
    if (!height || !width) return canvas;
    const image = new ImageData(width, height);
    values.flat().forEach((held2, i) => image.data.set([...heat(Math.min(1, Math.max(0, held2 || 0))).slice(0, 3), 255], 4 * i));
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  // cam_cli/report/script/main.js
  var PER_PAGE = 60;
  var SHOW = { confusion: showConfusion, classes: showClasses, ways: () => showWays(show), figures: showFigures };
  var pages = () => Math.max(1, Math.ceil(found.length / PER_PAGE));
  function showImages() {
    asked.page = Math.min(Math.max(0, asked.page), pages() - 1);
    const some = found.slice(asked.page * PER_PAGE, (asked.page + 1) * PER_PAGE);
    const table2 = asked.view === "table";
    at("grid").hidden = table2;
    at("table-part").hidden = !table2 || !some.length;
    at(table2 ? "grid" : "table").replaceChildren();
    if (table2 && some.length) showTable(some, rows, show);
    else if (!table2) showGrid(some, show);
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
})();
