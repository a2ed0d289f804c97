// The designs, what the reader chose, and which designs are shown.

const DATA = JSON.parse(document.getElementById("data").textContent);

const state = {
  stage: DATA.stages.length - 1,
  x: "m0",
  y: DATA.metrics.length > 1 ? "m1" : "m0",
  logX: true,
  logY: true,
  colour: "bottleneck",
  beyond: false,
  frontOnly: false,
  hover: -1,
  pinned: -1,
  chips: {}, // parameter or "bottleneck" -> set of codes left out
  ranges: {}, // axis key -> [low, high] in values
  sort: { key: "m0", falling: false },
  allRows: false,
};

const stage = () => DATA.stages[state.stage];

// Axes by key: "m0" is the first metric, "p2" the third parameter.
const axisOf = (key) => {
  const at = Number(key.slice(1));
  if (key[0] === "m") {
    const metric = DATA.metrics[at];
    return { key, label: metric.label, unit: metric.unit, sense: metric.sense, column: stage().metrics[at] };
  }
  const parameter = DATA.parameters[at];
  const numeric = parameter.values.every((value) => typeof value === "number");
  return { key, label: parameter.name, unit: parameter.unit, sense: 0, numeric, values: parameter.values, codes: stage().choices[at] };
};

// What an axis is filtered by: a metric's value, or which of its values a parameter has.
const placeOn = (axis, design) => (axis.column ? axis.column[design] : axis.codes[design]);

const OBJECTIVES = DATA.metrics.map((metric, at) => (metric.sense ? `m${at}` : "")).filter(Boolean);

const parameterText = (at, code) => (code < 0 ? "–" : format(DATA.parameters[at].values[code], DATA.parameters[at].unit));

let shown = [];

const passes = (design) => {
  const here = stage();
  if (here.reason[design] >= 0 && !state.beyond) return false;
  if (state.frontOnly && design >= here.front) return false;
  for (const [name, left] of Object.entries(state.chips)) {
    const code = name === "bottleneck" ? here.bottleneck[design] : here.choices[Number(name)][design];
    if (left.has(code)) return false;
  }
  for (const [key, [low, high]] of Object.entries(state.ranges)) {
    const value = placeOn(axisOf(key), design);
    if (value === null || value < low || value > high) return false;
  }
  return true;
};

const refilter = () => {
  shown = [];
  for (let design = stage().ordinals.length - 1; design >= 0; design -= 1) if (passes(design)) shown.push(design);
};

// Colours: of designs by what the reader chose, with what the legend needs.
const colouring = () => {
  const here = stage();
  if (state.colour === "bottleneck") {
    const entries = here.bottlenecks.map((text, code) => ({ text: text || "not known", colour: PALETTE[code % PALETTE.length], code }));
    return { of: (design) => entries[here.bottleneck[design]].colour, entries };
  }
  const axis = axisOf(state.colour);
  if (axis.column) {
    const values = shown.map((design) => axis.column[design]).filter((value) => value !== null);
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const warp = low > 0 ? Math.log : (value) => value;
    const share = (value) => (high > low ? (warp(value) - warp(low)) / (warp(high) - warp(low)) : 0.5);
    const grey = "#bbbbbb";
    return {
      of: (design) => (axis.column[design] === null ? grey : rampColour(share(axis.column[design]))),
      ramp: values.length ? [format(low, axis.unit), format(high, axis.unit)] : ["–", "–"],
    };
  }
  const many = axis.values.length - 1 || 1;
  const entries = axis.values.map((value, code) => ({
    text: format(value, axis.unit),
    colour: axis.numeric ? rampColour(code / many) : PALETTE[code % PALETTE.length],
    code,
  }));
  const none = "#bbbbbb";
  return { of: (design) => (axis.codes[design] < 0 ? none : entries[axis.codes[design]].colour), entries };
};
