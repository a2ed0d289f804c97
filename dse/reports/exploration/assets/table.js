// The front as a table that can be sorted, and one design in full.

const MOST_ROWS = 100;

const tableKeys = () => [...OBJECTIVES, ...DATA.parameters.map((_, at) => `p${at}`)];

const sortedFront = () => {
  const axis = state.sort.key === "bottleneck" ? null : axisOf(state.sort.key);
  const value = axis ? (design) => placeOn(axis, design) : (design) => stage().bottlenecks[stage().bottleneck[design]];
  const rows = shown.filter((design) => design < stage().front).sort((a, b) => a - b);
  return rows.sort((a, b) => {
    const [u, v] = [value(a), value(b)];
    const order = u === v ? a - b : u === null || (v !== null && u > v) ? 1 : -1;
    return state.sort.falling ? -order : order;
  });
};

const drawTable = () => {
  const head = document.querySelector("#front thead");
  const body = document.querySelector("#front tbody");
  const keys = [...tableKeys(), "bottleneck"];
  const label = (key) => {
    if (key === "bottleneck") return key;
    const axis = axisOf(key);
    return axis.label;
  };
  head.replaceChildren(
    element(
      "tr",
      {},
      ...keys.map((key) => {
        const mine = state.sort.key === key;
        const button = element("button", { type: "button", onclick: () => sortBy(key) }, `${label(key)} ${mine ? (state.sort.falling ? "▾" : "▴") : ""}`);
        return element("th", { "aria-sort": mine ? (state.sort.falling ? "descending" : "ascending") : "none", class: key[0] === "m" ? "objective" : "" }, button);
      }),
    ),
  );
  const rows = sortedFront();
  const cell = (key, design) => {
    if (key === "bottleneck") return stage().bottlenecks[stage().bottleneck[design]];
    const axis = axisOf(key);
    return axis.column ? format(axis.column[design], axis.unit) : parameterText(Number(key.slice(1)), axis.codes[design]);
  };
  const most = state.allRows ? rows.length : MOST_ROWS;
  body.replaceChildren(
    ...rows.slice(0, most).map((design) =>
      element(
        "tr",
        { class: design === state.pinned ? "pinned" : "", onclick: () => pin(design), onmouseenter: () => hoverOver(design), onmouseleave: () => hoverOver(-1) },
        ...keys.map((key) => element("td", { class: key[0] === "m" ? "objective" : "" }, cell(key, design))),
      ),
    ),
  );
  const more = document.getElementById("more-rows");
  more.hidden = rows.length <= most;
  more.textContent = `show all ${rows.length.toLocaleString("en")}`;
  document.getElementById("front-count").textContent =
    rows.length === stage().front ? `${rows.length.toLocaleString("en")} designs` : `${rows.length.toLocaleString("en")} of ${stage().front.toLocaleString("en")} designs pass the filters`;
};

const sortBy = (key) => {
  state.sort = { key, falling: state.sort.key === key && !state.sort.falling };
  drawTable();
};

const designRows = (design) => {
  const here = stage();
  const row = (name, value, kind = "") => element("tr", { class: kind }, element("th", {}, name), element("td", {}, value));
  return [
    element("tr", { class: "part" }, element("th", { colspan: "2" }, "parameters")),
    ...DATA.parameters.map((parameter, at) => row(parameter.name, parameterText(at, here.choices[at][design]))),
    element("tr", { class: "part" }, element("th", { colspan: "2" }, "metrics")),
    ...DATA.metrics.map((metric, at) => row(metric.label, format(here.metrics[at][design], metric.unit), metric.sense ? "objective" : "")),
    row("bottleneck", here.bottlenecks[here.bottleneck[design]] || "–"),
  ];
};

// The design of the front that is best in one objective, in short.
const bestOf = (key) => {
  const axis = axisOf(key);
  const best = shown
    .filter((design) => design < stage().front)
    .reduce((a, b) => (a < 0 || axis.sense * axis.column[b] < axis.sense * axis.column[a] ? b : a), -1);
  if (best < 0) return [];
  const words = DATA.parameters.map((parameter, at) => `${parameter.name} ${parameterText(at, stage().choices[at][best])}`);
  const button = element("button", { type: "button", onclick: () => pin(best) }, "show");
  return [
    element("h3", {}, `${axis.sense > 0 ? "least" : "most"} ${axis.label}: ${format(axis.column[best], axis.unit)} `, button),
    element("p", { class: "quiet" }, words.join(", ")),
  ];
};

const drawDetail = () => {
  const panel = document.getElementById("detail");
  const design = state.hover >= 0 ? state.hover : state.pinned;
  if (design < 0) {
    panel.replaceChildren(element("p", { class: "quiet" }, "Point at a design to see it here; click to keep it, then shift-click another to compare the two."), ...OBJECTIVES.flatMap(bestOf));
    return;
  }
  const here = stage();
  const where = here.reason[design] >= 0 ? `beyond: ${here.reasons[here.reason[design]]}` : design < here.front ? "on the front" : "beaten by another";
  panel.replaceChildren(
    element("h3", {}, `design ${here.ordinals[design].toLocaleString("en")}`, element("span", { class: "quiet" }, ` ${where}`)),
    element("table", {}, ...designRows(design)),
  );
};
