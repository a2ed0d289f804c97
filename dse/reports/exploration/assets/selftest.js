// Opened as page.html#selftest, the page tries itself out and writes what it found into the document.

if (location.hash === "#selftest") {
  const opened = performance.now();
  const fire = (target, type, x, y) => {
    const box = target.getBoundingClientRect();
    target.dispatchEvent(new PointerEvent(type, { clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerId: 1 }));
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
  document.body.append(element("pre", { id: "selftest" }, JSON.stringify(found)));
}
