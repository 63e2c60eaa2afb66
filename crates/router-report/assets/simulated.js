// The parts that only the page of a simulation has: metrics over several seeds with their intervals, shares of the
// servers, incidents, and the accuracy of the model.
"use strict";

// A figure in its unit; an interval has no more digits than the figure.
const inUnit = { s: (v) => seconds(v), share: (v) => percent(v), "": (v) => number(v) };

function interval({ mean, half_width: half }, unit) {
  if (half === null || half === 0) return el("small", { class: "about-half" });
  const scale = unit === "s" ? (mean >= 1 ? 1 : mean >= 1e-3 ? 1e3 : 1e6) : unit === "share" ? 100 : 1;
  const size = Math.abs(mean * scale);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return el("small", { class: "about-half", title: "half the width of the 95 % interval of the mean over the seeds" },
    `±${(half * scale).toFixed(digits)}`);
}

// Better or worse only where the interval of the ratio says so.
function ratioWithInterval(ratio, better) {
  if (ratio === null) return el("small", {}, "");
  const sure = Math.abs(ratio.mean - 1) > Math.max(ratio.half_width ?? 0, 0.005);
  const gain = better * (ratio.mean - 1);
  const mood = !sure || better === 0 ? "" : gain > 0 ? "good" : "bad";
  const half = ratio.half_width === null ? "" : ` ± ${ratio.half_width.toFixed(3)}`;
  const word = { good: "better", bad: "worse", "": "no sure difference" }[better === 0 ? "" : mood];
  return el("small", { class: mood, title: `${ratio.mean.toFixed(3)}${half} of the first${better === 0 ? "" : `, ${word}`}` },
    `×${ratio.mean >= 100 ? Math.round(ratio.mean) : ratio.mean < 0.1 ? ratio.mean.toFixed(3) : ratio.mean.toFixed(2)}`);
}

// The options of a policy may be on separate lines.
const breakable = (label) => label.split(/(?=:)/).flatMap((part) => [part, el("wbr")]);

// The table has a stronger line at the start of a group of metrics.
const BEGINS = /^(First token, mean|Per token, mean|Goodput)/;

// The policies of a simulation: those of the runs that the charts show, or those of the figures alone.
const policyLabels = (sim) => sim.policies.map((policy, i) => report.runs[i]?.label ?? policy);

function simulatedTable(sim) {
  const heads = policyLabels(sim).map((label, i) => runHead(sim.policies[i], i, el("span", {}, ...breakable(label))));
  const always = (m) => m.better < 0 && m.unit === "s";
  const told = sim.measures.filter((m) => always(m) || m.found.some((f) => f.mean > 0));
  const rows = told.map((m) => tableRow(m.name.replace(" %", "\u00a0%"),
    m.found.map((found, i) => el("td", {}, inUnit[m.unit](found.mean), interval(found, m.unit),
      i > 0 ? ratioWithInterval(m.ratios[i], m.better) : null)), { class: BEGINS.test(m.name) ? "begins" : "" }));
  return tableCard({ title: "Comparison of the policies", kind: "simulated", rows,
    head: [sim.policies.length > 1 ? "× is to the first policy" : "", ...heads] });
}

// The ratios of all policies to the first, as changes with their intervals over the seeds.
function simulatedDifferences(sim) {
  const labels = policyLabels(sim);
  const told = sim.measures.filter((m) => m.unit === "s");
  const lines = labels.slice(1).map((label, i) => ({
    label, colour: i + 1, run: report.runs.length ? i + 1 : undefined,
    found: told.map((m) => {
      const ratio = m.ratios[i + 1];
      const half = ratio?.half_width ?? null;
      return ratio && { value: ratio.mean, range: half === null ? null : [ratio.mean - half, ratio.mean + half] };
    }),
  }));
  const grid = el("div", { class: "grid" });
  forest(grid, { id: "differences", title: `Change against ${labels[0]}`, names: told.map((m) => m.name), lines, wide: true,
    about: "Mean ratio over the seeds, seed by seed, with its 95 % interval; to the left is faster. An interval that crosses 0 tells no difference." });
  return grid.children.length ? section("Differences", null, grid) : null;
}

function whatWasSimulated(sim) {
  const list = el("dl", { class: "card facts" });
  for (const [word, what] of sim.about) list.append(el("dt", {}, word), el("dd", {}, what));
  return list;
}

// One bar per policy, one piece per server.
function shareBars(sim) {
  const labels = policyLabels(sim);
  const rows = labels.map((label, i) => {
    const bar = el("div", { class: "stack", role: "img",
      "aria-label": `${label}: ${sim.shares.map((s) => `${s.name} ${percent(s.of[i])}`).join(", ")}` });
    sim.shares.forEach((s, at) => {
      const piece = el("i", { mark: at, title: `${s.name}: ${percent(s.of[i])}` });
      piece.style.width = `${s.of[i] * 100}%`;
      if (s.of[i] >= 0.06) piece.append(`${Math.round(s.of[i] * 100)}`);
      bar.append(piece);
    });
    return el("div", { class: "stack-row" }, el("span", { title: sim.policies[i] }, ...breakable(label)), bar);
  });
  const legend = el("p", { class: "legend" }, ...sim.shares.map((s, at) => el("span", {}, swatch(at), s.name)));
  return el("div", { class: "card", role: "region", "aria-label": "Who answered" },
    ...rows, saveButtons("Who answered", ["who-answered"], () => shareSvg(sim)), legend);
}

// The same bars as a figure to save.
const shareSvg = (sim) => onPaper(() => {
  const context = new SvgContext();
  const labels = policyLabels(sim);
  context.font = `12px ${css("--font")}`;
  const left = Math.max(...labels.map((label) => context.measureText(label).width)) + 12;
  const width = PAPER_WIDTH - 2 * PAPER_EDGE - left;
  labels.forEach((label, row) => {
    const y = row * 30;
    context.textAlign = "right";
    context.fillStyle = css("--ink");
    context.fillText(label, left - 12, y + 15);
    context.textAlign = "center";
    let x = left;
    sim.shares.forEach(({ of }, at) => {
      const size = of[row] * width;
      context.beginPath();
      context.rect(x, y, Math.max(size - 1, 0), 22);
      context.fillStyle = colour(at);
      context.fill();
      context.fillStyle = css("--card");
      if (of[row] >= 0.06) context.fillText(`${Math.round(of[row] * 100)} %`, x + size / 2, y + 15);
      x += size;
    });
  });
  return framed({ title: "Share of all answers", about: "The mean over the seeds.", height: labels.length * 30, content: context.elements(),
    legend: sim.shares.map((s, at) => ({ label: s.name, colour: colour(at) })) });
});

// Vertical lines at incidents in charts over time, with a label where there is room.
const LINES_OF_WORDS = 4;
function happenings(u) {
  const marks = report.simulation?.marks ?? [];
  const { ctx } = u;
  const scale = devicePixelRatio;
  const { left, top, width, height } = u.bbox;
  const taken = Array.from({ length: LINES_OF_WORDS }, () => -Infinity);
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = css("--soft");
  ctx.font = `${11 * scale}px ${css("--font")}`;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  ctx.lineWidth = scale;
  ctx.setLineDash([4 * scale, 4 * scale]);
  for (const [at, text] of marks) {
    const x = u.valToPos(at, "x", true);
    if (x < left || x > left + width) continue;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    const room = ctx.measureText(text).width + 8 * scale;
    const from = Math.max(left, Math.min(x, left + width - room));
    const line = taken.findIndex((until) => until <= from);
    if (line < 0) continue;
    taken[line] = from + room;
    ctx.fillText(text, from + 4 * scale, top + (2 + 13 * line) * scale);
  }
  ctx.restore();
}

function fidelitySection(sim) {
  if (sim.fidelity.length === 0) return null;
  const off = (f) => f.simulated / f.measured - 1;
  const worst = Math.max(...sim.fidelity.map((f) => Math.abs(off(f))));
  const signed = (f) => `${off(f) >= 0 ? "+" : "−"}${(Math.abs(off(f)) * 100).toFixed(1)} %`;
  const rows = sim.fidelity.map((f) => tableRow(f.run,
    [textCell(f.fleet), number(f.requests), seconds(f.measured), seconds(f.simulated), signed(f)]));
  return section("How true the model is",
    `${plural(sim.fidelity.length, "run")} recorded on real GPUs, replayed through the engine model with their own arrivals, lengths and choices: `
    + `the mean latency of each comes out within ${(worst * 100).toFixed(1)} %. Other engines, and prefix caches, are modelled but were not compared to recordings.`,
    tableCard({ title: "Recorded runs and the model", rows, text: [1],
      head: ["Recording", "Fleet", "Requests", "Measured", "Simulated", "Off by"] }));
}

// What the page of a simulation shows instead of the comparison of files.
function simulatedSections(sim) {
  document.title = "sgl-router simulation";
  document.querySelector("h1 span").textContent = "simulation";
  return [section("What was simulated", null, whatWasSimulated(sim)), section("At a glance", null, simulatedTable(sim)),
    simulatedDifferences(sim),
    sim.shares.length ? section("Who answered", "Share of all answers, in percent, as the mean over the seeds.", shareBars(sim)) : null];
}
