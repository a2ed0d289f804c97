// Designs in depth: where time, energy, area and memory go, beside a second design where one is chosen.

const DEPTH = DATA.depth || null;
const DRAWN = new Map(DEPTH ? DEPTH.designs.map((each) => [each.ordinal, each]) : []);
const depth = { ordinal: DEPTH ? DEPTH.designs[0].ordinal : -1, versus: -1, points: [] };

const colourOf = (colours, name) => colours[name] || colours.other || "#8c8c8c";

// Parts of the machine have the colours of the bottlenecks in the plot; what waits or idles is grey.
const PARTS = (() => {
  const colours = { other: "#F0E442" };
  const known = DATA.stages[DATA.stages.length - 1].bottlenecks;
  let next = known.length;
  for (const { name, raw, kind } of DEPTH ? DEPTH.parts : []) {
    const code = known.findIndex((each) => each === raw || each.startsWith(`${raw}:`));
    const grey = { overhead: "#8c8c8c", idle: "#d0d0d0" }[kind];
    if (code >= 0) colours[name] = PALETTE[code % PALETTE.length];
    else if (grey) colours[name] = grey;
    else colours[name] = PALETTE[next++ % PALETTE.length];
  }
  return colours;
})();

const percent = (share) => (share > 0 && share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(share >= 0.0995 || !share ? 0 : 1)} %`);
const placeOf = (ordinal) => stage().ordinals.indexOf(ordinal);
const letters = ["A", "B"];

// The pinned design, else the one chosen last.
const depthOrdinal = () => (state.pinned >= 0 ? stage().ordinals[state.pinned] : depth.ordinal);

const depthName = (ordinal) => {
  const at = placeOf(ordinal);
  const best = at < 0 ? [] : OBJECTIVES.map((key) => format(axisOf(key).column[at], axisOf(key).unit));
  return `${ordinal.toLocaleString("en")}${DEPTH.picks.includes(ordinal) ? " (picked)" : ""}: ${best.join(", ")}`;
};

const fillDepth = (here) => {
  if (!DEPTH) return;
  const choices = [...DRAWN.keys()];
  const fill = (id, rows, value, then) => {
    const select = document.getElementById(id);
    select.replaceChildren(...rows.map(([key, text]) => element("option", { value: key }, text)));
    select.value = value;
    select.onchange = () => then(Number(select.value));
  };
  const named = (ordinals) => ordinals.map((each) => [each, depthName(each)]);
  const extra = (ordinal) => (ordinal < 0 || DRAWN.has(ordinal) ? [] : [[ordinal, `${ordinal.toLocaleString("en")}: not in depth`]]);
  fill("depth-design", [...extra(here), ...named(choices)], here, (ordinal) => {
    depth.ordinal = ordinal;
    state.pinned = placeOf(ordinal);
    update();
  });
  const others = choices.filter((each) => each !== here);
  fill("depth-versus", [[-1, "none"], ...extra(depth.versus), ...named(others)], depth.versus, (ordinal) => {
    depth.versus = ordinal;
    drawDepth();
  });
};

// Beside the design that is there; the same one again takes it away.
const compareWith = (ordinal) => {
  depth.versus = depth.versus === ordinal || depthOrdinal() === ordinal ? -1 : ordinal;
  drawDepth();
};

// report.html#design=12&with=34 opens with these two.
const openLinked = () => {
  const asked = new URLSearchParams(location.hash.slice(1));
  const [one, other] = ["design", "with"].map((key) => Number(asked.get(key) ?? -1));
  if (DRAWN.has(one)) depth.ordinal = one;
  if (placeOf(other) >= 0 && other !== one) depth.versus = other;
  if (placeOf(one) >= 0) state.pinned = placeOf(one);
};

const drawDepth = () => {
  const here = depthOrdinal();
  if (DRAWN.has(here)) depth.ordinal = here;
  if (depth.versus === here) depth.versus = -1;
  fillDepth(here);
  depth.points = [];
  drawMarks();
  const compared = [here, depth.versus].every((ordinal) => placeOf(ordinal) >= 0);
  const body = document.getElementById("depth-body");
  const letterOf = (ordinal) => (compared ? letters[Number(ordinal === depth.versus)] : "");
  const asked = compared ? [here, depth.versus] : [here];
  const designs = asked.filter((ordinal) => DRAWN.has(ordinal)).map((ordinal) => DRAWN.get(ordinal));
  const count = designs[0]?.works.length || 0;
  const works = Array.from({ length: count }, (_, at) => designs.map((each) => ({ ...each.works[at], of: letterOf(each.ordinal), design: each.ordinal }))).flat();
  body.replaceChildren(
    ...(compared ? [compareTable(asked)] : []),
    ...(DEPTH ? asked.filter((ordinal) => !DRAWN.has(ordinal)).map(notDrawn) : []),
    ...(count ? inDepth(designs, works, letterOf) : []),
  );
  for (const piece of body.querySelectorAll(".stack b")) if (piece.scrollWidth > piece.clientWidth) piece.textContent = "";
  works.forEach((work, at) => {
    const range = roofRange(works.filter((each) => each.name === work.name));
    const canvas = document.getElementById(`roof-${at}`);
    depth.points.push(drawRoofline(canvas, work, range));
    watchRoof(canvas, work, at);
  });
};

const notDrawn = (ordinal) => {
  const add = element("code", {}, `--design ${ordinal}`);
  return element("p", {}, `Design ${ordinal.toLocaleString("en")} was not looked at in depth. The option `, add, " of the command that made this page adds it.");
};

const inDepth = (designs, works, letterOf) => [
  element(
    "div",
    { class: "stacks" },
    element("div", {}, timeBlock(works), memoryBlock(works)),
    element("div", {}, energyBlock(works), ...areaBlocks(designs, letterOf)),
  ),
  element("div", { class: "roofs" }, ...works.map(roofBlock)),
  kindLegend(works),
];

const rowName = (work) => (work.of ? `${work.name}, ${work.of}` : work.name);

const inked = (colour) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 150 ? "#202020" : "#fff";
};

// One bar: pieces [name, value, text], drawn to `full`; `mark` is a value that a tick stands at.
const bar = (title, pieces, full, unit, colours, { mark, total } = {}) => {
  const sum = total ?? pieces.reduce((all, [, value]) => all + value, 0);
  const shown = pieces.map(([name, value, text]) => {
    const colour = colourOf(colours, name);
    const said = `${name}: ${format(value, unit)}, ${percent(value / sum)}${text ? ` (${text})` : ""}`;
    return element("b", { style: `width:${(100 * value) / full}%;background:${colour};color:${inked(colour)}`, title: said }, name);
  });
  if (mark) shown.push(element("i", { style: `left:${(100 * mark) / full}%`, title: `no schedule beats ${format(mark, unit)}` }));
  return [element("span", { class: "of" }, ...title), element("div", { class: "stack" }, ...shown)];
};

// What the pieces are, in numbers: a row for each name, a column for each bar.
const pieceTable = (bars, unit, colours) => {
  const names = [...new Set(bars.flatMap(({ pieces }) => pieces.map(([name]) => name)))];
  const cell = ({ pieces, total }, name) => {
    const found = pieces.find((each) => each[0] === name);
    return found ? [element("td", {}, format(found[1], unit)), element("td", { class: "quiet" }, percent(found[1] / total))] : [element("td", {}, "–"), element("td")];
  };
  const swatch = (name) => element("i", { style: `background:${colourOf(colours, name)}` });
  const head = bars.length > 1 ? [element("tr", {}, element("th"), ...bars.map(({ name }) => element("th", { colspan: "2" }, name)))] : [];
  return element(
    "div",
    { class: "wide" },
    element("table", { class: bars.length > 3 ? "pieces many" : "pieces" }, ...head, ...names.map((name) => element("tr", {}, element("th", {}, swatch(name), name), ...bars.flatMap((each) => cell(each, name))))),
  );
};

const strong = (text) => element("strong", {}, text);

const amounts = (heading, note, bars, unit, colours) =>
  element(
    "div",
    { class: "block" },
    element("h3", {}, heading, element("span", { class: "quiet" }, ` ${note}`)),
    ...bars.flatMap(({ title, pieces, full, mark, total }) => bar(title, pieces, full, unit, colours, { mark, total })),
    pieceTable(bars, unit, colours),
  );

// Bars of one workload share a scale, so that two designs can be told apart by length.
const longest = (works, work, key) => Math.max(...works.filter((each) => each.name === work.name).map((each) => each[key]));

// Where there are several devices: energies are those of all together, memory is that of one.
const ofDevices = (works, which) => {
  const counts = [...new Set(works.map((work) => work.devices))];
  return counts.every((count) => count === 1) ? "" : `, ${which} of ${counts.join(" or ")} devices`;
};

const timeBlock = (works) => {
  const bars = works.map((work) => ({
    name: rowName(work), pieces: work.time, full: longest(works, work, "latency"), total: work.latency, mark: work.bound,
    title: [`${rowName(work)}: `, strong(format(work.latency, "s"))],
  }));
  return amounts("Time", "by what it waits for; the tick is what no schedule beats", bars, "s", PARTS);
};

const energyBlock = (works) => {
  const bars = works.map((work) => ({
    name: rowName(work), pieces: work.energy, full: longest(works, work, "joules"), total: work.joules,
    title: [`${rowName(work)}: `, strong(format(work.joules, "J"))],
  }));
  return amounts("Energy", `by part${ofDevices(works, "all")}; static is idle power over the time`, bars, "J", PARTS);
};

const areaBlocks = (designs, letterOf) =>
  designs[0].areas.map(({ title, source }) => {
    const stacks = designs.map((each) => each.areas.find((stack) => stack.title === title)?.pieces || []);
    const totals = stacks.map((pieces) => pieces.reduce((sum, [, area]) => sum + area, 0));
    const bars = stacks.map((pieces, n) => ({
      name: letterOf(designs[n].ordinal), pieces, full: Math.max(...totals), total: totals[n],
      title: [letterOf(designs[n].ordinal) ? `${letterOf(designs[n].ordinal)}: ` : "", strong(format(totals[n], "mm²"))],
    }));
    const name = title[0].toUpperCase() + title.slice(1);
    return amounts(name.toLowerCase().includes("area") ? name : `Area, ${title}`, source, bars, "mm²", DEPTH.colours.piece);
  });

const memoryBlock = (works) => {
  const usedOf = (roles) => roles.reduce((sum, [, bytes]) => sum + bytes, 0);
  const tiers = works.flatMap((work) => work.memory.map(([tier, capacity, roles]) => ({ work, tier, capacity, roles, used: usedOf(roles) })));
  const busy = new Set(tiers.filter(({ used }) => used > 0).map(({ tier }) => tier));
  const idle = [...new Set(tiers.map(({ tier }) => tier).filter((tier) => !busy.has(tier)))];
  const bars = tiers
    .filter(({ tier }) => busy.has(tier))
    .map(({ work, tier, capacity, roles, used }) => ({
      name: busy.size > 1 ? `${rowName(work)}: ${tier}` : rowName(work), pieces: roles, full: capacity, total: capacity,
      title: [`${rowName(work)}: ${tier} `, strong(`${format(used, "B")} of ${format(capacity, "B")}`), ` (${percent(used / capacity)})`],
    }));
  const block = amounts("Memory", `at its peak, what lies in which tier${ofDevices(works, "one")}; shares are of its capacity`, bars, "B", DEPTH.colours.role);
  if (idle.length) block.append(element("p", { class: "quiet" }, `Nothing lies in ${idle.join(", ")}.`));
  return block;
};

const roofBlock = (work, at) =>
  element(
    "div",
    { class: "block" },
    element("h3", {}, `Roofline, ${rowName(work)} `, element("span", { class: "quiet" }, work.case)),
    element("div", { class: "plot" }, element("canvas", { id: `roof-${at}`, role: "img", "aria-label": `roofline of ${rowName(work)}` })),
    element("p", { class: "quiet said", id: `roof-said-${at}` }, POINT_AT),
    timeline(work),
    ...work.notes.map((note) => element("p", { class: "quiet" }, note)),
  );

const POINT_AT = "Point at an operation to read about it.";

const timeline = (work) => {
  const name = `design-${work.design}-${work.name}.trace.json.gz`;
  if (typeof work.trace === "number") {
    return element("p", { class: "quiet" }, `Its timeline (${format(work.trace, "B")}) is too large for this page; `, element("code", {}, "--traces DIR"), " writes it.");
  }
  const size = format((work.trace.length * 3) / 4, "B");
  return element("p", {}, "timeline: ", element("a", { download: name, href: `data:application/gzip;base64,${work.trace}` }, name), element("span", { class: "quiet" }, ` ${size}`));
};

const kindLegend = (works) => {
  const kinds = [...new Set(works.flatMap((work) => roofOperations(work).map((op) => op.kind)))];
  const swatches = kinds.map((kind) => element("span", {}, element("i", { style: `background:${colourOf(DEPTH.colours.kind, kind)}` }), kind));
  return element("div", { class: "legend" }, "operations, their area by time:", ...swatches, element("span", {}, "◇ whole step, transfers and waiting included"));
};

const watchRoof = (canvas, work, at) => {
  canvas.onpointermove = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const near = depth.points[at].filter((op) => Math.hypot(op.px - px, op.py - py) < op.radius + 5).sort((a, b) => a.radius - b.radius)[0];
    canvas.style.cursor = near ? "pointer" : "default";
    document.getElementById(`roof-said-${at}`).textContent = near ? sayOperation(near) : POINT_AT;
  };
};

const sayOperation = (op) =>
  `${op.name} (${op.kind}), ${op.count.toLocaleString("en")} times: ${format(op.seconds, "s")}, ${percent(op.share)} of the time of all; ` +
  `${format(op.x, "op/B")} at ${format(op.y, "op/s")}, bound by ${op.bound}`;

// Parameters and metrics of two designs, side by side.
const compareTable = (ordinals) => {
  const [a, b] = ordinals.map(placeOf);
  const here = stage();
  const row = (name, values, ratio, kind) =>
    element("tr", { class: kind }, element("th", {}, name), ...values.map((value) => element("td", {}, value)), element("td", { class: "quiet" }, ratio));
  const known = (value) => typeof value === "number" && value > 0;
  const ratio = (u, v) => (known(u) && known(v) ? (u === v ? "=" : `×${digits(v / u)}`) : u === v ? "=" : "");
  const parameters = DATA.parameters.map((parameter, at) => {
    const codes = [here.choices[at][a], here.choices[at][b]];
    const values = codes.map((code) => (code < 0 ? null : parameter.values[code]));
    return row(parameter.name, codes.map((code) => parameterText(at, code)), ratio(...values), values[0] === values[1] ? "same" : "");
  });
  const metrics = DATA.metrics.map((metric, at) => {
    const values = [here.metrics[at][a], here.metrics[at][b]];
    return row(metric.label, values.map((value) => format(value, metric.unit)), ratio(...values), metric.sense ? "objective" : "");
  });
  const limits = [a, b].map((design) => here.bottlenecks[here.bottleneck[design]] || "–");
  const head = () => element("tr", { class: "head" }, element("th"), ...ordinals.map((ordinal, n) => element("td", {}, `${letters[n]}: ${ordinal.toLocaleString("en")}`)), element("td", { class: "quiet" }, "B / A"));
  return element(
    "div",
    { class: "compare" },
    element("table", {}, head(), ...parameters),
    element("table", {}, head(), ...metrics, row("bottleneck", limits, limits[0] === limits[1] ? "=" : "", "")),
  );
};
