// How fast the search went: hypervolume after so many designs, beside random designs.

const drawCurve = () => {
  const canvas = document.getElementById("curve");
  if (!canvas) return;
  const search = DATA.search;
  const { context, width, height } = fitted(canvas, 260);
  const [left, right, top, bottom] = [64, width - 16, 14, height - 46];
  const lines = [
    { name: search.engine, values: search.run, colour: "#0072B2", dash: [] },
    { name: search.run ? "random designs" : "random order, mean of 5", values: search.random, colour: "#D55E00", dash: [6, 3] },
  ].filter((line) => line.values);
  const every = lines.flatMap((line) => line.values);
  const x = makeScale(search.counts, { log: true, unit: "", label: "designs evaluated", from: left, to: right, count: 6 });
  const y = makeScale(every, { log: false, unit: "", label: "hypervolume", from: bottom, to: top, count: 4, pad: 0.12 });
  drawFrame(context, x, y, { left, right, top, bottom });
  lines.forEach((line, n) => {
    context.strokeStyle = context.fillStyle = line.colour;
    context.lineWidth = 2;
    context.setLineDash(line.dash);
    context.beginPath();
    line.values.forEach((value, at) => context[at ? "lineTo" : "moveTo"](x.at(search.counts[at]), y.at(value)));
    context.stroke();
    context.beginPath();
    const row = bottom - 16 - 18 * (lines.length - 1 - n);
    context.moveTo(right - 190, row);
    context.lineTo(right - 165, row);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = "#202020";
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "left";
    context.fillText(line.name, right - 158, row + 4);
  });
};
