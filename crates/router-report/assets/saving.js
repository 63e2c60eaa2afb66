// Saves a chart as SVG or PNG: drawn again in the light colours and at a size that fits a page of a paper, with its title, the
// titles of its axes and its legend. Everything happens in the page; nothing is sent or loaded.
"use strict";

const PAPER_WIDTH = 640;
const PAPER_EDGE = 14;
// 640 px three times over are 16 cm at 300 dots per inch.
const PNG_SCALE = 3;

// Numbers of an SVG: two decimals are finer than a printer's dots.
const short = (v) => String(Math.round(v * 100) / 100);
const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

// A Path2D that keeps its commands as SVG has them. A canvas begins an empty path at the first point that it gets.
class RecordedPath {
  constructor(other) { this.d = other?.d ?? ""; }
  add(letter, ...values) { this.d += (letter === "L" && !this.d ? "M" : letter) + values.map(short).join(" "); }
  moveTo(x, y) { this.add("M", x, y); }
  lineTo(x, y) { this.add("L", x, y); }
  bezierCurveTo(...values) { this.add("C", ...values); }
  rect(x, y, w, h) { this.add("M", x, y); this.add("h", w); this.add("v", h); this.add("h", -w); this.d += "Z"; }
  closePath() { this.d += "Z"; }
  arc(x, y, r, from, to) {
    const point = (angle) => [x + r * Math.cos(angle), y + r * Math.sin(angle)];
    this.add("L", ...point(from));
    // One arc of SVG cannot go all the way round.
    const middle = (from + to) / 2;
    for (const angle of [middle, to]) this.add("A", r, r, 0, 0, 1, ...point(angle));
  }
}

// The part of a canvas's 2D context that the charts use, which keeps what is drawn as elements of SVG.
class SvgContext {
  constructor() {
    this.parts = [];
    this.clips = 0;
    this.state = { strokeStyle: "#000", fillStyle: "#000", lineWidth: 1, lineJoin: "miter", lineCap: "butt", dash: [], globalAlpha: 1,
      font: "10px sans-serif", textAlign: "start", textBaseline: "alphabetic", x: 0, y: 0, angle: 0, groups: 0 };
    this.saved = [];
    this.path = new RecordedPath();
    this.measuring = document.createElement("canvas").getContext("2d");
  }

  save() { this.saved.push({ ...this.state }); }
  restore() {
    const before = this.saved.pop();
    if (!before) return;
    for (let i = before.groups; i < this.state.groups; i++) this.parts.push("</g>");
    this.state = before;
  }
  translate(x, y) { this.state.x += x; this.state.y += y; }
  rotate(angle) { this.state.angle += angle; }
  setLineDash(dash) { this.state.dash = dash; }
  clearRect() { }
  measureText(text) {
    this.measuring.font = this.state.font;
    return this.measuring.measureText(text);
  }

  beginPath() { this.path = new RecordedPath(); }
  moveTo(x, y) { this.path.moveTo(x, y); }
  lineTo(x, y) { this.path.lineTo(x, y); }
  rect(x, y, w, h) { this.path.rect(x, y, w, h); }
  arc(x, y, r, from, to) { this.path.arc(x, y, r, from, to); }
  clip(path = this.path) {
    const id = `clip${++this.clips}`;
    this.parts.push(`<clipPath id="${id}"><path d="${path.d}"${this.moved()}/></clipPath><g clip-path="url(#${id})">`);
    this.state.groups++;
  }
  stroke(path = this.path) {
    const { strokeStyle, lineWidth, lineJoin, lineCap, dash } = this.state;
    if (!(lineWidth > 0) || !path.d) return;
    const dashes = dash.length ? ` stroke-dasharray="${dash.map(short).join(" ")}"` : "";
    const ends = `${lineJoin === "miter" ? "" : ` stroke-linejoin="${lineJoin}"`}${lineCap === "butt" ? "" : ` stroke-linecap="${lineCap}"`}`;
    this.draw(path, `fill="none" stroke="${escaped(strokeStyle)}" stroke-width="${short(lineWidth)}"${ends}${dashes}`);
  }
  fill(path = this.path) {
    if (path.d) this.draw(path, `fill="${escaped(this.state.fillStyle)}"`);
  }
  draw(path, style) {
    const alpha = this.state.globalAlpha < 1 ? ` opacity="${short(this.state.globalAlpha)}"` : "";
    this.parts.push(`<path d="${path.d}" ${style}${alpha}${this.moved()}/>`);
  }
  fillText(text, x, y) {
    if (text === "") return;
    const { font, fillStyle, textAlign, textBaseline, angle } = this.state;
    const size = parseFloat(font.match(/([\d.]+)px/)?.[1] ?? "10");
    const weight = font.match(/^\s*(bold|\d00)\s/)?.[1];
    const anchor = { center: "middle", right: "end", end: "end" }[textAlign];
    // Many programs ignore baselines other than the usual one.
    const down = { top: 0.8, middle: 0.35, bottom: -0.2 }[textBaseline] ?? 0;
    const at = angle === 0 ? `x="${short(x + this.state.x)}" y="${short(y + this.state.y + down * size)}"`
      : `x="${short(x)}" y="${short(y + down * size)}"${this.moved()}`;
    this.parts.push(`<text ${at} font-size="${short(size)}"${weight ? ` font-weight="${weight}"` : ""}`
      + `${anchor ? ` text-anchor="${anchor}"` : ""} fill="${escaped(fillStyle)}">${escaped(text)}</text>`);
  }
  moved() {
    const { x, y, angle } = this.state;
    if (x === 0 && y === 0 && angle === 0) return "";
    return ` transform="translate(${short(x)} ${short(y)})${angle ? ` rotate(${short(angle * 180 / Math.PI)})` : ""}"`;
  }
  elements() {
    while (this.saved.length) this.restore();
    return this.parts.join("\n");
  }
}
// What is set is part of the state that save() keeps.
for (const name of ["strokeStyle", "fillStyle", "lineWidth", "lineJoin", "lineCap", "globalAlpha", "font", "textAlign", "textBaseline"]) {
  Object.defineProperty(SvgContext.prototype, name, {
    get() { return this.state[name]; },
    set(value) { this.state[name] = value; },
  });
}

// Draws a chart by uPlot into a context, all at once: nothing else of the page sees what is replaced meanwhile.
function drawnInto(context, options, data) {
  const [getContext, path] = [HTMLCanvasElement.prototype.getContext, window.Path2D];
  try {
    HTMLCanvasElement.prototype.getContext = () => context;
    window.Path2D = RecordedPath;
    const plot = new uPlot(options, data);
    // uPlot draws at the end of a batch, and else later.
    plot.batch(() => { });
    plot.destroy();
  } finally {
    HTMLCanvasElement.prototype.getContext = getContext;
    window.Path2D = path;
  }
}

// Runs `work` while the page has the light colours and the fonts of print. Nothing of it is seen: the page is painted later.
function onPaper(work) {
  document.documentElement.dataset.paper = "";
  try {
    return work();
  } finally {
    delete document.documentElement.dataset.paper;
  }
}

// The text of an SVG file: the title, what `content` draws below it, and a legend of labels and colours in lines that fit.
function framed({ title, about, height, legend, content }) {
  const [top, line, gap, mark] = [34, 17, 18, 14];
  const frame = new SvgContext();
  const font = css("--font");
  frame.fillStyle = css("--ink");
  frame.font = `600 15px ${font}`;
  frame.fillText(title, PAPER_EDGE, 22);
  frame.font = `12px ${font}`;
  let [x, y] = [PAPER_EDGE, top + height + 18];
  for (const { label, colour: fill } of legend) {
    const width = mark + frame.measureText(label).width;
    if (x > PAPER_EDGE && x + width > PAPER_WIDTH - PAPER_EDGE) [x, y] = [PAPER_EDGE, y + line];
    frame.fillStyle = css("--ink");
    frame.fillText(label, x + mark, y + 4);
    frame.beginPath();
    frame.fillStyle = fill;
    frame.arc(x + 5, y, 4.5, 0, 2 * Math.PI);
    frame.fill();
    x += width + gap;
  }
  const total = Math.round(legend.length ? y + PAPER_EDGE : top + height + PAPER_EDGE);
  return { width: PAPER_WIDTH, height: total, text: [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${PAPER_WIDTH}" height="${total}" viewBox="0 0 ${PAPER_WIDTH} ${total}" font-family="${escaped(font)}">`,
    `<title>${escaped(title)}</title>`,
    about ? `<desc>${escaped(about)}</desc>` : "",
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    frame.elements(),
    `<g transform="translate(${PAPER_EDGE} ${top})">`, content, "</g>", "</svg>\n",
  ].join("\n") };
}

// A chart as an SVG file, as the page shows it: zoomed in, and without what is hidden.
const svgOf = (entry) => onPaper(() => {
  const { spec, plot } = entry;
  spec.restyle?.(spec);
  const height = Math.round((spec.height ?? 230) * 1.2);
  const wanted = options(entry);
  const { x } = plot.scales;
  // Nothing is rounded to pixels: a printer's are finer.
  Object.assign(wanted, { width: PAPER_WIDTH - 2 * PAPER_EDGE, height, pxAlign: 0, legend: { show: false }, cursor: { show: false } });
  wanted.scales.x.range = [x.min, x.max];
  wanted.series.forEach((s, i) => { if (i > 0) s.show = plot.series[i].show; });
  [spec.xTitle, spec.yTitle].forEach((label, i) => Object.assign(wanted.axes[i], label
    ? { label, labelFont: `12px ${css("--font")}`, labelSize: 20, labelGap: 0 } : {}));
  const context = new SvgContext();
  drawnInto(context, wanted, [spec.x, ...spec.series.map((s) => s.values)]);
  return framed({
    title: entry.of ? `${spec.title}: ${entry.of}` : spec.title, about: spec.about, height,
    legend: spec.series.filter((_, i) => plot.series[i + 1].show).map((s) => ({ label: s.label, colour: s.fill ?? s.colour })),
    content: `<g transform="scale(${short(1 / uPlot.pxRatio)})">\n${context.elements()}\n</g>`,
  });
});

// A figure as PNG, made of its SVG, so that both are the same figure.
async function pngOf({ width, height, text }) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width * PNG_SCALE, height * PNG_SCALE];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads it after this turn.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The buttons that save a figure; `names` are the parts of the name of the file, `svg` makes it.
function saveButtons(title, names, svg) {
  const name = names.filter(Boolean).join("-").replace(/[^\p{L}\p{N}.-]+/gu, "-").replace(/-$/, "");
  const kinds = [
    ["SVG", "svg", async () => new Blob([svg().text], { type: "image/svg+xml" })],
    ["PNG", "png", () => pngOf(svg())],
  ];
  return el("span", { class: "save" }, ...kinds.map(([kind, end, make]) => {
    const button = el("button", { type: "button", "aria-label": `Save “${title}” as ${kind}`, title: `Save as ${kind}` }, kind);
    button.addEventListener("click", async () => save(await make(), `${name}.${end}`));
    return button;
  }));
}
