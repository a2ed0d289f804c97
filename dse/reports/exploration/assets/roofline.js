// The roofline of one workload on one design: ceilings, its operations between them, the whole step.

// Values that both axes must reach; of several works together, so that rooflines side by side can be compared.
const roofRange = (works) => {
  const [across, upward] = [[], []];
  for (const work of works) {
    const highest = Math.max(...work.peaks.map(([, rate]) => rate));
    const fastest = Math.max(...work.slopes.map(([, rate]) => rate));
    const ops = roofOperations(work);
    across.push((highest / fastest) * 4, highest / fastest / 10, ...ops.map((op) => op.x));
    const lowest = Math.max(Math.min(...work.peaks.map(([, rate]) => rate)) / 2, highest / 1e4);
    upward.push(highest * 2.2, highest / 10, lowest, ...ops.map((op) => op.y));
    if (work.step[0] > 0) {
      across.push(work.step[0]);
      upward.push(work.step[1]);
    }
  }
  return { across, upward };
};

// Operations with arithmetic, but for those that take next to no time far below all others.
const roofOperations = (work) => {
  const all = work.ops
    .map(([name, kind, count, seconds, operations, bytes, bound]) => ({ name, kind, count, seconds, bound, x: operations / bytes, y: operations / seconds }))
    .filter((op) => op.x > 0 && op.y > 0);
  const total = all.reduce((sum, op) => sum + op.seconds, 0);
  let spare = 0.03 * total;
  let lowest = 0;
  for (const op of [...all].sort((a, b) => a.y - b.y)) {
    lowest = op.y;
    spare -= op.seconds;
    if (spare < 0) break;
  }
  return all.filter((op) => op.y >= lowest / 10).map((op) => ({ ...op, share: op.seconds / total })).sort((a, b) => b.seconds - a.seconds);
};

const drawRoofline = (canvas, work, range) => {
  const { context, width, height } = fitted(canvas, 320);
  const box = { left: 94, right: width - 12, top: 12, bottom: height - 44 };
  const x = makeScale(range.across, { log: true, unit: "op/B", label: "operational intensity", from: box.left, to: box.right, count: Math.floor(width / 90) });
  const y = makeScale(range.upward, { log: true, unit: "op/s", label: "performance", from: box.bottom, to: box.top, count: 5 });
  drawFrame(context, x, y, box);
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  context.clip();
  const taken = [];
  const points = roofOperations(work).map((op) => ({ ...op, px: x.at(op.x), py: y.at(op.y), radius: Math.max(3, 13 * Math.sqrt(op.share)) }));
  for (const { px, py, radius } of points) taken.push([px - radius, py - radius, px + radius, py + radius]);
  const lines = ceilingLines(work, x, y, box);
  context.strokeStyle = "#404040";
  for (const { ends, first } of lines) {
    context.setLineDash(first ? [] : [5, 3]);
    context.lineWidth = first ? 1.5 : 1.1;
    context.beginPath();
    context.moveTo(...ends[0]);
    context.lineTo(...ends[1]);
    context.stroke();
  }
  context.setLineDash([]);
  for (const { kind, px, py, radius } of points) {
    context.globalAlpha = 0.85;
    context.fillStyle = colourOf(DEPTH.colours.kind, kind);
    context.beginPath();
    context.arc(px, py, radius, 0, 7);
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = "#fff";
    context.lineWidth = 0.8;
    context.stroke();
  }
  if (work.step[0] > 0) {
    const [px, py] = [x.at(work.step[0]), y.at(work.step[1])];
    context.strokeStyle = "#202020";
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [dx, dy] of [[0, -6], [6, 0], [0, 6], [-6, 0], [0, -6]]) context.lineTo(px + dx, py + dy);
    context.stroke();
    taken.push([px - 7, py - 7, px + 7, py + 7]);
  }
  for (const line of lines) nameLine(context, line, taken, lines, box);
  for (const group of neighbours(points)) nameGroup(context, group, taken, box, lines);
  context.restore();
  return points;
};

// Each ceiling with its ends in pixels, inside the frame.
const ceilingLines = (work, x, y, box) => {
  const highest = Math.max(...work.peaks.map(([, rate]) => rate));
  const fastest = Math.max(...work.slopes.map(([, rate]) => rate));
  const left = x.back(box.left);
  const lowest = y.back(box.bottom);
  const peaks = work.peaks.map(([name, rate], n) => ({
    text: `${name}: ${format(rate, "op/s")}`,
    ends: [[x.at(Math.max(rate / fastest, left)), y.at(rate)], [box.right, y.at(rate)]],
    first: !n,
  }));
  const slopes = work.slopes.map(([name, rate], n) => {
    const from = Math.max(left, lowest / rate);
    return { text: `${name}: ${format(rate, "B/s")}`, ends: [[x.at(from), y.at(from * rate)], [x.at(highest / rate), y.at(highest)]], first: !n };
  });
  return [...peaks, ...slopes];
};

const touches = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

// The share of a box's area under other boxes, and whether a line goes through it.
const crowding = (found, taken, lines, own) => {
  let cost = taken.filter((each) => touches(found, each)).length;
  for (const { ends } of lines) {
    if (ends === own) continue;
    for (let at = 0; at <= 40; at += 1) {
      const [px, py] = [0, 1].map((n) => ends[0][n] + ((ends[1][n] - ends[0][n]) * at) / 40);
      if (px > found[0] && px < found[2] && py > found[1] && py < found[3]) {
        cost += 0.8;
        break;
      }
    }
  }
  return cost;
};

const write = (context, text, px, py, align, colour) => {
  context.textAlign = align;
  context.lineWidth = 3;
  context.strokeStyle = "rgba(255,255,255,.85)";
  context.strokeText(text, px, py);
  context.fillStyle = colour;
  context.fillText(text, px, py);
};

// Along its line, above it, where there is most room.
const nameLine = (context, { text, ends }, taken, lines, box) => {
  context.font = "11px system-ui, sans-serif";
  const width = context.measureText(text).width;
  const [dx, dy] = [ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]];
  const length = Math.hypot(dx, dy);
  const angle = Math.atan2(dy, dx);
  const half = [(width * Math.cos(angle)) / 2, (width * Math.abs(Math.sin(angle))) / 2];
  let best = null;
  for (const side of [-1, 1]) {
    for (const at of [0.5, 0.62, 0.38, 0.75, 0.25, 0.85, 0.15]) {
      const slack = (at < 0.5 ? at : 1 - at) * length - width / 2;
      const away = side < 0 ? 6 : 14;
      const middle = [ends[0][0] + dx * at + side * away * -Math.sin(angle), ends[0][1] + dy * at + side * away * Math.cos(angle)];
      if (!dy) middle[0] = Math.min(middle[0], box.right - half[0] - 3);
      const pieces = [-0.4, -0.2, 0, 0.2, 0.4].map((n) => [middle[0] + 2 * half[0] * n, middle[1] + Math.sign(dy) * 2 * half[1] * n]);
      const boxes = dy ? pieces.map(([px, py]) => [px - 9, py - 9, px + 9, py + 9]) : [[middle[0] - half[0], middle[1] - 10, middle[0] + half[0], middle[1] + 4]];
      const cost = boxes.reduce((sum, each) => sum + crowding(each, taken, lines, ends), 0) + (dy && slack < 4 ? 20 : 0) + (side > 0 ? 0.2 : 0) + Math.abs(at - 0.5) / 10;
      if (!best || cost < best.cost) best = { cost, middle, boxes };
    }
  }
  taken.push(...best.boxes);
  context.save();
  context.translate(...best.middle);
  context.rotate(angle);
  write(context, text, 0, 0, "center", "#5f5f5f");
  context.restore();
};

// The operations that take longest, those of neighbouring points together.
const neighbours = (points) => {
  const groups = [];
  let named = 0;
  for (const point of points) {
    const near = groups.find(([first]) => Math.hypot(first.px - point.px, first.py - point.py) < first.radius + 12);
    if (named >= 6 || (point.share < 0.02 && groups.length)) break;
    if (near) near.push(point);
    else groups.push([point]);
    named += 1;
  }
  return groups;
};

const LINE_PX = 13;

const nameGroup = (context, group, taken, box, lines) => {
  context.font = "11px system-ui, sans-serif";
  const shares = {};
  for (const { name, share } of group) {
    const text = name.split(".").pop().replace(/_/g, " ");
    shares[text] = (shares[text] || 0) + share;
  }
  const texts = Object.entries(shares).map(([text, share]) => `${text} ${percent(share)}`);
  const width = Math.max(...texts.map((text) => context.measureText(text).width));
  const height = LINE_PX * texts.length;
  const [first] = group;
  let best = null;
  for (const [sx, sy] of [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]]) {
    for (const out of [4, 16, 30, 46, 64, 84]) {
      const left = first.px + sx * (first.radius + out) - (sx < 0 ? width : sx > 0 ? 0 : width / 2);
      const top = first.py + sy * (first.radius + out) - (sy < 0 ? height : sy > 0 ? 0 : height / 2);
      const place = [left - 2, top, left + width + 2, top + height];
      const outside = place[0] < box.left + 2 || place[2] > box.right || place[1] < box.top || place[3] > box.bottom;
      const cost = crowding(place, taken, lines) + (outside ? 10 : 0) + out / 60;
      if (!best || cost < best.cost) best = { cost, place, left, top, out };
    }
  }
  if (best.cost >= 2.5) return; // no room: pointing at it names it
  taken.push(best.place);
  if (best.out > 4) {
    const [to, at] = [[0, 2], [1, 3]].map(([low, high], n) => Math.min(Math.max([first.px, first.py][n], best.place[low]), best.place[high]));
    context.strokeStyle = "#404040";
    context.lineWidth = 0.8;
    context.beginPath();
    context.moveTo(first.px, first.py);
    context.lineTo(to, at);
    context.stroke();
  }
  texts.forEach((text, n) => write(context, text, best.left, best.top + LINE_PX * n + 10, "left", "#202020"));
};
