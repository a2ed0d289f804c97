// Parallel coordinates: a line for each design of the front, a faint one for each other; brushes filter everything.

const parallel = { axes: [], drag: null };

const parallelKeys = () => [
  ...DATA.parameters.map((_, at) => `p${at}`).filter((key) => new Set(stage().choices[Number(key.slice(1))]).size > 1),
  ...OBJECTIVES,
];

const layParallel = (width, height) => {
  const [top, bottom] = [56, height - 16];
  const keys = parallelKeys();
  const [left, right] = [56, width - 56];
  parallel.axes = keys.map((key, n) => {
    const axis = axisOf(key);
    const x = keys.length > 1 ? left + (n / (keys.length - 1)) * (right - left) : (left + right) / 2;
    if (axis.column) {
      const simulated = axis.column.filter((value, design) => state.beyond || stage().reason[design] < 0);
      const scale = makeScale(simulated, { log: true, unit: axis.unit, label: axis.label, from: bottom, to: top, count: 5 });
      return { ...axis, ...scale, x, place: (design) => axis.column[design] };
    }
    const last = axis.values.length - 1 || 1;
    const at = (code) => bottom - 8 - (code / last) * (bottom - top - 16);
    const back = (pixel) => ((bottom - 8 - pixel) / (bottom - top - 16)) * last;
    const every = Math.ceil(axis.values.length / Math.max(2, Math.floor((bottom - top) / 22)));
    const ticks = axis.values
      .map((value, code) => ({ value: code, text: format(value, axis.unit) }))
      .filter((_, code) => code % every === 0);
    return { ...axis, x, at, back, ticks, title: axis.label, place: (design) => (axis.codes[design] < 0 ? null : axis.codes[design]) };
  });
  return { top, bottom };
};

const drawParallel = () => {
  const canvas = document.getElementById("parallel");
  const { context, width, height } = fitted(canvas, 380, 78 * parallelKeys().length);
  const { top, bottom } = layParallel(width, height);
  const colours = colouring();
  const front = stage().front;
  const others = shown.filter((design) => design >= front);
  const every = Math.ceil(others.length / 1500); // more would be one grey field
  const line = (design) => {
    context.beginPath();
    let pen = false;
    for (const axis of parallel.axes) {
      const place = axis.place(design);
      if (place === null || place === undefined) pen = false;
      else {
        if (pen) context.lineTo(axis.x, axis.at(place));
        else context.moveTo(axis.x, axis.at(place));
        pen = true;
      }
    }
    context.stroke();
  };
  context.lineWidth = 1;
  context.strokeStyle = "#9a9a9a";
  context.globalAlpha = 0.06;
  others.forEach((design, n) => n % every || line(design));
  context.globalAlpha = 0.6;
  context.lineWidth = 1.3;
  for (const design of shown) {
    if (design >= front) continue;
    context.strokeStyle = colours.of(design);
    line(design);
  }
  context.globalAlpha = 1;
  for (const [design, colour] of [[state.pinned, "#202020"], [state.hover, "#D55E00"]]) {
    if (design < 0) continue;
    context.strokeStyle = colour;
    context.lineWidth = 2.6;
    line(design);
  }
  parallel.axes.forEach((axis, n) => drawAxis(context, axis, n, top, bottom));
};

const drawAxis = (context, axis, n, top, bottom) => {
  context.strokeStyle = "#505050";
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(axis.x, top);
  context.lineTo(axis.x, bottom);
  context.stroke();
  const range = state.ranges[axis.key];
  if (range) {
    const [a, b] = [axis.at(range[0]), axis.at(range[1])].map((at) => Math.min(Math.max(at, top), bottom));
    context.fillStyle = "rgba(213,94,0,.22)";
    context.strokeStyle = "#D55E00";
    context.fillRect(axis.x - 8, Math.min(a, b), 16, Math.abs(a - b));
    context.strokeRect(axis.x - 8, Math.min(a, b), 16, Math.abs(a - b));
  }
  context.textAlign = "center";
  context.fillStyle = "#202020";
  context.font = "600 12px system-ui, sans-serif";
  const spacing = parallel.axes.length > 1 ? parallel.axes[1].x - parallel.axes[0].x : 200;
  const lines = wrapped(context, axis.title, Math.max(spacing - 8, 60));
  lines.forEach((text, at) => context.fillText(text, axis.x, top - 14 - 14 * (lines.length - 1 - at)));
  context.font = "11px system-ui, sans-serif";
  context.lineWidth = 3;
  context.textAlign = "left";
  for (const { value, text } of axis.ticks) {
    context.strokeStyle = "rgba(255,255,255,.85)";
    context.strokeText(text, axis.x + 6, axis.at(value) + 4);
    context.fillStyle = "#303030";
    context.fillText(text, axis.x + 6, axis.at(value) + 4);
    context.fillRect(axis.x - 3, axis.at(value) - 0.5, 6, 1);
  }
};

// Lines break behind spaces and behind the underscores of parameters' names.
const wrapped = (context, text, width) => {
  const lines = [];
  for (const word of text.split(/(?<=[ _])/)) {
    const longer = lines.length ? lines[lines.length - 1] + word : word;
    if (lines.length && context.measureText(longer.trim()).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.slice(0, 3).map((line) => line.trim());
};

const axisNear = (px) => parallel.axes.find((axis) => Math.abs(axis.x - px) < 16);

// A brush from one pixel to another; too short a one takes the axis's brush away.
const brush = (axis, from, to) => {
  if (Math.abs(from - to) < 4) delete state.ranges[axis.key];
  else {
    const ends = [axis.back(from), axis.back(to)];
    state.ranges[axis.key] = [Math.min(...ends), Math.max(...ends)];
  }
};

const watchParallel = () => {
  const canvas = document.getElementById("parallel");
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event);
    const axis = axisNear(x);
    if (!axis) return;
    parallel.drag = { key: axis.key, from: y };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    canvas.style.cursor = axisNear(x) || parallel.drag ? "ns-resize" : "default";
    if (!parallel.drag) return;
    brush(parallel.axes.find((axis) => axis.key === parallel.drag.key), parallel.drag.from, y);
    update();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!parallel.drag) return;
    brush(parallel.axes.find((axis) => axis.key === parallel.drag.key), parallel.drag.from, place(event)[1]);
    parallel.drag = null;
    update();
  });
};
