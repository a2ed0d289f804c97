// Two metrics against each other: all designs, the front, the staircase of the two.

const scatter = { scales: null, points: [] };

const scatterAxis = (key, log, from, to, count) => {
  const axis = axisOf(key);
  const value = axis.column ? (design) => axis.column[design] : (design) => (axis.codes[design] < 0 ? null : axis.values[axis.codes[design]]);
  const scale = makeScale(shown.map(value), { log, unit: axis.unit, label: axis.label, from, to, count });
  return { ...axis, ...scale, value };
};

const drawScatter = () => {
  const canvas = document.getElementById("scatter");
  const height = Math.max(340, Math.min(560, canvas.parentElement.clientWidth * 0.62));
  const { context, width } = fitted(canvas, height);
  const [left, right, top, bottom] = [64, width - 14, 14, height - 46];
  const x = scatterAxis(state.x, state.logX, left, right, Math.max(3, Math.floor((right - left) / 90)));
  const y = scatterAxis(state.y, state.logY, bottom, top, Math.max(3, Math.floor((bottom - top) / 60)));
  scatter.scales = { x, y };
  drawFrame(context, x, y, { left, right, top, bottom });
  const colours = colouring();
  const front = stage().front;
  scatter.points = [];
  for (const design of shown) {
    const [a, b] = [x.value(design), y.value(design)];
    if (a !== null && b !== null) scatter.points.push([x.at(a), y.at(b), design]);
  }
  drawStairs(context, x, y, { left, right, top, bottom });
  for (const [px, py, design] of scatter.points) {
    if (design < front) continue;
    const beyond = stage().reason[design] >= 0;
    context.globalAlpha = 0.5;
    context.beginPath();
    context.arc(px, py, 2.2, 0, 7);
    context.fillStyle = context.strokeStyle = beyond ? "#9a9a9a" : colours.of(design);
    if (beyond) context.stroke();
    else context.fill();
  }
  context.globalAlpha = 1;
  for (const [px, py, design] of scatter.points) {
    if (design >= front) continue;
    context.beginPath();
    context.arc(px, py, 4.2, 0, 7);
    context.fillStyle = colours.of(design);
    context.fill();
    context.lineWidth = 1.2;
    context.strokeStyle = "#202020";
    context.stroke();
    if (!DRAWN.has(stage().ordinals[design])) continue;
    context.beginPath();
    context.arc(px, py, 1.7, 0, 7);
    context.fillStyle = "#fff";
    context.fill();
  }
  if (!scatter.points.length) {
    context.fillStyle = "#5f5f5f";
    context.textAlign = "center";
    context.font = "14px system-ui, sans-serif";
    context.fillText(stage().ordinals.length ? "no design passes the filters" : "no design was simulated", (left + right) / 2, (top + bottom) / 2);
  }
  drawMarks();
};

const drawFrame = (context, x, y, { left, right, top, bottom }) => {
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 1;
  for (const { value, text } of x.ticks) {
    const px = Math.round(x.at(value)) + 0.5;
    context.strokeStyle = "#ececec";
    context.beginPath();
    context.moveTo(px, top);
    context.lineTo(px, bottom);
    context.stroke();
    context.fillStyle = "#404040";
    context.textAlign = "center";
    context.fillText(text, px, bottom + 17);
  }
  for (const { value, text } of y.ticks) {
    const py = Math.round(y.at(value)) + 0.5;
    context.strokeStyle = "#ececec";
    context.beginPath();
    context.moveTo(left, py);
    context.lineTo(right, py);
    context.stroke();
    context.fillStyle = "#404040";
    context.textAlign = "right";
    context.fillText(text, left - 7, py + 4);
  }
  context.strokeStyle = "#8c8c8c";
  context.beginPath();
  context.moveTo(left + 0.5, top);
  context.lineTo(left + 0.5, bottom + 0.5);
  context.lineTo(right, bottom + 0.5);
  context.stroke();
  context.fillStyle = "#202020";
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText(x.title + (x.logarithmic ? ", log scale" : ""), (left + right) / 2, bottom + 38);
  context.save();
  context.translate(14, (top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(y.title + (y.logarithmic ? ", log scale" : ""), 0, 0);
  context.restore();
};

// Of the feasible designs shown, those no other beats in both axes; only where both are objectives.
const stairs = (x, y) => {
  if (!x.sense || !y.sense || x.key === y.key) return [];
  const rows = shown
    .filter((design) => stage().reason[design] < 0 && x.value(design) !== null && y.value(design) !== null)
    .map((design) => [x.sense * x.value(design), y.sense * y.value(design), design])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const kept = [];
  let best = Infinity;
  for (const row of rows) {
    if (row[1] < best) {
      best = row[1];
      kept.push(row[2]);
    }
  }
  return kept;
};

const drawStairs = (context, x, y, { left, right, top, bottom }) => {
  const kept = stairs(x, y);
  if (!kept.length) return;
  const points = kept.map((design) => [x.at(x.value(design)), y.at(y.value(design))]);
  context.beginPath();
  context.moveTo(points[0][0], y.sense > 0 ? top : bottom);
  context.lineTo(...points[0]);
  for (let at = 1; at < points.length; at += 1) {
    context.lineTo(points[at][0], points[at - 1][1]);
    context.lineTo(...points[at]);
  }
  context.lineTo(x.sense > 0 ? right : left, points[points.length - 1][1]);
  context.strokeStyle = "#202020";
  context.lineWidth = 1.3;
  context.globalAlpha = 0.75;
  context.stroke();
  context.globalAlpha = 1;
};

const nearest = (px, py) => {
  let [best, found] = [14 * 14, -1];
  for (const [x, y, design] of scatter.points) {
    const front = design < stage().front ? 0.5 : 1; // the front is easier to hit
    const distance = ((x - px) ** 2 + (y - py) ** 2) * front;
    if (distance < best) [best, found] = [distance, design];
  }
  return found;
};

const drawMarks = () => {
  const canvas = document.getElementById("marks");
  const { context } = fitted(canvas, document.getElementById("scatter").clientHeight);
  const compared = depth.versus >= 0 ? [[placeOf(depthOrdinal()), "#202020", "A"], [placeOf(depth.versus), "#202020", "B"]] : [];
  for (const [design, colour, letter] of [...compared, [state.pinned, "#202020"], [state.hover, "#D55E00"]]) {
    const point = scatter.points.find((each) => each[2] === design);
    if (!point) continue;
    if (letter) {
      context.font = "600 13px system-ui, sans-serif";
      write(context, letter, point[0] + 10, point[1] - 7, "left", colour);
    }
    context.beginPath();
    context.arc(point[0], point[1], 8, 0, 7);
    context.strokeStyle = colour;
    context.lineWidth = 2.2;
    context.stroke();
  }
};
