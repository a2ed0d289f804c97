// Numbers, scales, ticks and colours.

const PREFIX = { "-15": "f", "-12": "p", "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P" };
const PLAIN = new Set(["", "mm²", "µm²", "/s"]);

const power = (value) =>
  Math.min(15, Math.max(-15, 3 * Math.floor(Math.log10(Math.abs(Number(Math.abs(value).toPrecision(3)))) / 3 + 1e-9)));

const digits = (value, count = 3) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2).replace("e+", "e").replace("-", "−");
  const places = Math.max(0, count - 1 - Math.floor(Math.log10(Number(size.toPrecision(count)))));
  return value.toLocaleString("en", { maximumFractionDigits: places, minimumFractionDigits: 0 });
};

const format = (value, unit = "") => {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (PLAIN.has(unit) || value === 0) return digits(value) + (unit === "/s" ? " /s" : unit ? ` ${unit}` : "");
  const at = power(value);
  return `${digits(value / 10 ** at)} ${PREFIX[at]}${unit}`;
};

const linearTicks = (low, high, count) => {
  const rough = (high - low) / count;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = ten * [1, 2, 2.5, 5, 10].find((factor) => ten * factor >= rough * 0.999);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) ticks.push(n * step);
  return ticks;
};

const logTicks = (low, high, count) => {
  const decades = Math.log10(high / low);
  if (decades < 0.7) return linearTicks(low, high, count);
  const factors = decades < 1.1 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : decades < 1.6 ? [1, 2, 3, 5] : decades < 3 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / count));
  const ticks = [];
  for (let at = Math.floor(Math.log10(low)); at <= Math.ceil(Math.log10(high)); at += every) {
    for (const factor of factors) {
      const tick = factor * 10 ** at;
      if (tick >= low * 0.9999 && tick <= high * 1.0001) ticks.push(tick);
    }
  }
  return ticks;
};

// A scale from values to [from, to] in pixels, padded a little, with ticks and the label of its axis.
const makeScale = (values, { log, unit, label, from, to, count = 6, pad = 0.04 }) => {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) [low, high] = [1, 10];
  const logarithmic = log && low > 0;
  const warp = logarithmic ? Math.log : (value) => value;
  const unwarp = logarithmic ? Math.exp : (value) => value;
  let [a, b] = [warp(low), warp(high)];
  const room = (b - a) * pad || Math.abs(a) * 0.1 || 1;
  [a, b] = [a - room, b + room];
  if (!logarithmic && low >= 0 && a < 0) a = 0;
  const at = (value) => from + ((warp(value) - a) / (b - a)) * (to - from);
  const back = (pixel) => unwarp(a + ((pixel - from) / (to - from)) * (b - a));
  const [first, last] = [unwarp(a), unwarp(b)];
  const raw = (logarithmic ? logTicks : linearTicks)(first, last, count);
  const wide = logarithmic && last / first > 2000;
  const scaled = PLAIN.has(unit) || wide ? 0 : power(logarithmic ? Math.sqrt(first * last) : Math.max(Math.abs(first), Math.abs(last)));
  const ticks = raw.map((value) => ({ value, text: wide ? format(value, unit) : digits(value / 10 ** scaled, 4) }));
  const shown = unit === "/s" ? "per s" : `${PREFIX[scaled]}${unit}`;
  return { at, back, ticks, title: shown ? `${label} (${shown})` : label, logarithmic };
};

const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#7A5C2E", "#202020"];
const RAMP = ["#241a6b", "#7a1fa2", "#cc4778", "#f07f4f", "#f9b233"].map((text) =>
  [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)),
);

const rampColour = (share) => {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const at = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[at].map((part, n) => Math.round(part + (RAMP[at + 1][n] - part) * (place - at)));
  return `rgb(${mixed.join(",")})`;
};

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
};

// A canvas of its parent's width, sharp on every screen; returns its context in CSS pixels.
const fitted = (canvas, height, least = 0) => {
  const width = Math.max(canvas.parentElement.clientWidth, least);
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
};
