// Controls, and what redraws what.

const choose = (id, options, value, then) => {
  const select = document.getElementById(id);
  select.replaceChildren(...options.map(([key, text]) => element("option", { value: key }, text)));
  select.value = value;
  select.onchange = () => {
    then(select.value);
    update();
  };
};

const tick = (id, key) => {
  const box = document.getElementById(id);
  box.checked = state[key];
  box.onchange = () => {
    state[key] = box.checked;
    update();
  };
};

const fillControls = () => {
  const metrics = DATA.metrics.map((metric, at) => [`m${at}`, metric.label + (metric.sense ? " (objective)" : "")]);
  const parameters = DATA.parameters.map((parameter, at) => [`p${at}`, parameter.name]);
  const numeric = parameters.filter(([key]) => axisOf(key).numeric);
  choose("x-axis", [...metrics, ...numeric], state.x, (key) => { state.x = key; });
  choose("y-axis", [...metrics, ...numeric], state.y, (key) => { state.y = key; });
  choose("colour", [["bottleneck", "bottleneck"], ...parameters, ...metrics], state.colour, (key) => { state.colour = key; });
  tick("log-x", "logX");
  tick("log-y", "logY");
  tick("front-only", "frontOnly");
  tick("beyond", "beyond");
  document.getElementById("beyond").parentElement.hidden = !stage().reason.some((code) => code >= 0);
  const stages = document.getElementById("stage");
  stages.parentElement.hidden = DATA.stages.length < 2;
  choose("stage", DATA.stages.map((each, at) => [at, `${each.fidelity} (${each.proposed.toLocaleString("en")})`]), state.stage, (at) => {
    Object.assign(state, { stage: Number(at), hover: -1, pinned: -1, chips: {}, ranges: {} });
    depth.versus = -1;
    fillControls();
  });
  fillChips();
};

const chip = (name, code, text) => {
  const button = element("button", { type: "button", class: "chip", "aria-pressed": "true" }, text);
  button.addEventListener("click", () => toggle(name, code));
  button.dataset.name = name;
  button.dataset.code = code;
  return button;
};

const fillChips = () => {
  const rows = DATA.parameters.map((parameter, at) => {
    const used = [...new Set(stage().choices[at])].filter((code) => code >= 0).sort((a, b) => a - b);
    return [parameter.name, used.length > 1 && used.length <= 40 ? used.map((code) => chip(String(at), code, parameterText(at, code))) : []];
  });
  rows.push(["bottleneck", stage().bottlenecks.map((text, code) => chip("bottleneck", code, text || "not known"))]);
  document.getElementById("chips").replaceChildren(
    ...rows.filter(([, chips]) => chips.length > 1).map(([name, chips]) => element("div", { class: "chips" }, element("span", {}, name), ...chips)),
  );
};

const toggle = (name, code) => {
  const left = (state.chips[name] = state.chips[name] || new Set());
  if (!left.delete(code)) left.add(code);
  if (!left.size) delete state.chips[name];
  update();
};

const showChips = () => {
  for (const button of document.querySelectorAll(".chip")) {
    const out = state.chips[button.dataset.name]?.has(Number(button.dataset.code)) || false;
    button.setAttribute("aria-pressed", String(!out));
  }
};

const drawLegend = () => {
  const { entries, ramp } = colouring();
  const legend = document.getElementById("legend");
  if (ramp) {
    const stops = [0, 0.25, 0.5, 0.75, 1].map(rampColour).join(",");
    legend.replaceChildren(ramp[0], element("span", { class: "ramp", style: `background:linear-gradient(90deg,${stops})` }), ramp[1]);
  } else {
    legend.replaceChildren(...entries.map(({ text, colour }) => element("span", {}, element("i", { style: `background:${colour}` }), text)));
  }
};

const drawCounts = () => {
  const front = shown.filter((design) => design < stage().front).length;
  const here = stage();
  const all = here.ordinals.length;
  const text = [`${shown.length.toLocaleString("en")} of ${all.toLocaleString("en")} simulated designs shown, ${front.toLocaleString("en")} on the front`];
  if (here.simulated > all) text.push(`; ${(here.simulated - all).toLocaleString("en")} more were left out of this page, none of the front`);
  document.getElementById("count").textContent = text.join("");
  const active = Object.keys(state.chips).length + Object.keys(state.ranges).length;
  document.getElementById("reset").disabled = !active;
};

const update = () => {
  refilter();
  if (state.hover >= 0 && !passes(state.hover)) state.hover = -1;
  drawScatter();
  drawLegend();
  drawParallel();
  drawTable();
  drawDetail();
  drawCounts();
  showChips();
  drawDepth();
};

const hoverOver = (design) => {
  if (design === state.hover) return;
  state.hover = design;
  drawMarks();
  drawDetail();
  drawParallel();
};

const pin = (design) => {
  state.pinned = design === state.pinned ? -1 : design;
  drawMarks();
  drawDetail();
  drawParallel();
  drawTable();
  drawDepth();
};

const reset = () => {
  Object.assign(state, { chips: {}, ranges: {} });
  update();
};

const watchScatter = () => {
  const canvas = document.getElementById("marks");
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return nearest(event.clientX - box.left, event.clientY - box.top);
  };
  canvas.addEventListener("pointermove", (event) => hoverOver(at(event)));
  canvas.addEventListener("pointerleave", () => hoverOver(-1));
  canvas.addEventListener("click", (event) => {
    const design = at(event);
    if (design < 0) return;
    if (event.shiftKey) compareWith(stage().ordinals[design]);
    else pin(design);
  });
};

openLinked();
fillControls();
watchScatter();
watchParallel();
document.getElementById("reset").onclick = reset;
document.getElementById("more-rows").onclick = () => {
  state.allRows = true;
  drawTable();
};
update();
drawCurve();
let resized = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(() => {
    update();
    drawCurve();
  });
});
