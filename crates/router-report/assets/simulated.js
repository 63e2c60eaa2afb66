// The parts that only the page of a simulation has: metrics over several seeds with their intervals, shares of the
// servers, incidents, and the accuracy of the model. It uses the functions of page.js.
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

function simulatedTable(sim) {
  const head = el("tr", {}, el("th", { scope: "col" }, sim.policies.length > 1 ? "× is to the first policy" : ""),
    ...report.runs.map((run) => el("th", { scope: "col", title: run.name },
      el("span", { class: "run", mark: run.colour }, el("i", { "aria-hidden": "true" }), el("span", {}, ...breakable(run.label))))));
  const always = (m) => m.better < 0 && m.unit === "s";
  const told = sim.measures.filter((m) => always(m) || m.found.some((f) => f.mean > 0));
  const rows = told.map((m) => el("tr", { class: BEGINS.test(m.name) ? "begins" : "" }, el("th", { scope: "row" }, m.name.replace(" %", "\u00a0%")),
    ...m.found.map((found, i) => el("td", {}, inUnit[m.unit](found.mean), interval(found, m.unit),
      i > 0 ? ratioWithInterval(m.ratios[i], m.better) : null))));
  return el("div", { class: "card scroll simulated", tabindex: "0", role: "region", "aria-label": "Comparison of the policies" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function whatWasSimulated(sim) {
  const list = el("dl", { class: "card facts" });
  for (const [word, what] of sim.about) list.append(el("dt", {}, word), el("dd", {}, what));
  return list;
}

// One bar per policy, one piece per server.
function shareBars(sim) {
  const rows = report.runs.map((run, i) => {
    const bar = el("div", { class: "stack", role: "img",
      "aria-label": `${run.label}: ${sim.shares.map((s) => `${s.name} ${percent(s.of[i])}`).join(", ")}` });
    sim.shares.forEach((s, at) => {
      const piece = el("i", { mark: at, title: `${s.name}: ${percent(s.of[i])}` });
      piece.style.width = `${s.of[i] * 100}%`;
      if (s.of[i] >= 0.06) piece.append(`${Math.round(s.of[i] * 100)}`);
      bar.append(piece);
    });
    return el("div", { class: "stack-row" }, el("span", { title: run.name }, ...breakable(run.label)), bar);
  });
  const legend = el("p", { class: "legend" }, ...sim.shares.map((s, at) =>
    el("span", {}, el("span", { class: "swatch", mark: at, "aria-hidden": "true" }), s.name)));
  return el("div", { class: "card", role: "region", "aria-label": "Who answered" }, ...rows, legend);
}

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
  const off = (f) => f.simulated / f.measured - 1;
  const worst = Math.max(...sim.fidelity.map((f) => Math.abs(off(f))));
  const head = ["Recording", "Fleet", "Requests", "Measured", "Simulated", "Off by"];
  const rows = sim.fidelity.map((f) => el("tr", {}, el("th", { scope: "row" }, f.run), el("td", { class: "text" }, f.fleet),
    ...[number(f.requests), seconds(f.measured), seconds(f.simulated), `${off(f) >= 0 ? "+" : "−"}${(Math.abs(off(f)) * 100).toFixed(1)} %`]
      .map((text) => el("td", {}, text))));
  return section("How true the model is",
    `${plural(sim.fidelity.length, "run")} recorded on real GPUs, replayed through the engine model with their own arrivals, lengths and choices: `
    + `the mean latency of each comes out within ${(worst * 100).toFixed(1)} %. Other engines, and prefix caches, are modelled but were not compared to recordings.`,
    el("div", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Recorded runs and the model" },
      el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h, i) => el("th", { scope: "col", class: i === 1 ? "text" : "" }, h)))),
        el("tbody", {}, ...rows))));
}

// What the page of a simulation shows instead of the comparison of files.
function simulatedSections(sim) {
  document.title = "sgl-router simulation";
  document.querySelector("h1 span").textContent = "simulation";
  return [section("What was simulated", null, whatWasSimulated(sim)), section("At a glance", null, simulatedTable(sim)),
    section("Who answered", "Share of all answers, in percent, as the mean over the seeds.", shareBars(sim))];
}
