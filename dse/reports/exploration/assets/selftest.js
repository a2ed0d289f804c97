// Opened as page.html#selftest, the page tries itself out and writes what it found into the document.

const tryDepth = (fire) => {
  const words = (selector) => document.querySelector(selector).innerText.replace(/\s+/g, " ");
  const marks = document.getElementById("marks");
  const click = (design) => {
    const [x, y] = scatter.points.find((each) => each[2] === design);
    fire(marks, "click", x, y);
  };
  const read = () => {
    const bars = [...document.querySelectorAll("#depth .stack")].map((stack) => [...stack.querySelectorAll("b")].reduce((sum, piece) => sum + parseFloat(piece.style.width), 0));
    return { chosen: document.getElementById("depth-design").value, text: words("#depth-body"), bars };
  };
  const tried = { first: read() };
  const last = placeOf([...DRAWN.keys()].at(-1));
  click(last);
  tried.clicked = read();
  tried.traces = [...document.querySelectorAll("#depth a")].map((link) => link.href.slice(0, 34));
  const canvas = document.getElementById("roof-0");
  const [operation] = depth.points[0];
  fire(canvas, "pointermove", operation.px, operation.py);
  tried.operation = words("#roof-said-0");
  const versus = document.getElementById("depth-versus");
  versus.value = versus.options[1].value;
  versus.dispatchEvent(new Event("change"));
  tried.compared = { with: versus.value, text: words(".compare"), roofs: document.querySelectorAll("#depth canvas").length };
  tried.clipped = [...document.querySelectorAll("#depth .wide")].filter((each) => each.scrollWidth > each.clientWidth).length;
  tried.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  versus.value = "-1";
  versus.dispatchEvent(new Event("change"));
  const undrawn = shown.find((design) => !DRAWN.has(stage().ordinals[design]));
  if (state.pinned >= 0) pin(state.pinned);
  if (undrawn !== undefined) {
    pin(undrawn);
    tried.undrawn = [stage().ordinals[undrawn], words("#depth-body")];
    pin(undrawn);
    compareWith(stage().ordinals[undrawn]);
    tried.beside = { table: words(".compare"), roofs: document.querySelectorAll("#depth canvas").length };
    compareWith(stage().ordinals[undrawn]);
    tried.alone = document.querySelectorAll(".compare").length;
  }
  return tried;
};

if (location.hash === "#selftest") {
  const opened = performance.now();
  const fire = (target, type, x, y, keys = {}) => {
    const box = target.getBoundingClientRect();
    target.dispatchEvent(new PointerEvent(type, { clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerId: 1, ...keys }));
  };
  const marks = document.getElementById("marks");
  const point = scatter.points.find((each) => each[2] === 0);
  fire(marks, "pointermove", point[0], point[1]);
  const found = { opened_ms: opened, shown: shown.length, front: stage().front, hovered: state.hover, detail: document.getElementById("detail").innerText.replace(/\s+/g, " ") };
  fire(marks, "pointerleave", -50, -50);
  found.left = state.hover;
  const begun = performance.now();
  for (let n = 0; n < 10; n += 1) hoverOver(n % 2 ? -1 : 0);
  document.getElementById("parallel").getContext("2d").getImageData(0, 0, 1, 1); // waits until it is drawn
  found.hover_ms = (performance.now() - begun) / 10;

  const first = document.querySelector(".chip");
  first.click();
  const [name, code] = [first.dataset.name, Number(first.dataset.code)];
  const codes = name === "bottleneck" ? stage().bottleneck : stage().choices[Number(name)];
  found.chip = { shown: shown.length, expected: codes.filter((each, design) => each !== code && stage().reason[design] < 0).length };
  document.getElementById("reset").click();
  found.reset = shown.length;

  const axis = parallel.axes[parallel.axes.length - 1];
  const limit = axis.back(axis.at(axis.column[0]) - 30);
  brush(axis, axis.at(axis.column[0]) + 30, axis.at(axis.column[0]) - 30);
  update();
  const low = axis.back(axis.at(axis.column[0]) + 30);
  found.brush = {
    shown: shown.length,
    expected: axis.column.filter((value, design) => stage().reason[design] < 0 && value >= Math.min(low, limit) && value <= Math.max(low, limit)).length,
  };
  reset();

  const column = () => sortedFront().map((design) => stage().metrics[0][design]);
  const rising = (values) => values.every((value, at) => !at || values[at - 1] <= value);
  const before = column();
  sortBy("m0");
  found.sorted = [rising(before), rising(column().reverse())];
  found.rows = document.querySelectorAll("#front tbody tr").length;
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (DEPTH) found.depth = tryDepth(fire);
  pin(0);
  const [x, y] = scatter.points.find((each) => each[2] === 1);
  fire(marks, "click", x, y, { shiftKey: true });
  found.side = document.querySelector(".compare")?.innerText.replace(/\s+/g, " ");
  compareWith(stage().ordinals[1]);
  pin(0);
  document.body.append(element("pre", { id: "selftest" }, JSON.stringify(found)));
}
