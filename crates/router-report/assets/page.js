// The script of the page: tables, notices, and the list of charts.
"use strict";

const report = JSON.parse(document.getElementById("report").textContent);
const fractions = JSON.parse(document.getElementById("fractions").textContent);
const main = document.getElementById("main");

// An element with attributes and content; text is always set as text.
function el(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "mark") element.style.setProperty("--mark", `var(--c${value % 8})`);
    else element.setAttribute(name, value);
  }
  element.append(...content.filter((c) => c !== null && c !== undefined));
  return element;
}
const section = (title, about, ...content) =>
  el("section", {}, el("h2", {}, title), about ? el("p", { class: "about" }, about) : null, ...content);
// The charts of a simulation show one of its runs.
const oneSeed = report.simulation ? "The run with the first seed." : null;
const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

// Names short enough for a chart: the common part of default file names is removed if they stay distinct.
function shorten(names) {
  const bare = (n) => n.replace(/_?(router_test|metrics)_/, " ").trim();
  const dated = (n) => bare(n).replace(/(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)/, "$2-$3 $4:$5:$6").trim();
  const plain = (n) => bare(n).replace(/\s*\d{8}_\d{6}\s*/, " ").trim();
  for (const form of [plain, dated]) {
    const short = names.map(form);
    if (new Set(short).size === names.length && short.every((n) => n.length > 0)) return short;
  }
  return names;
}
const labels = report.simulation ? report.runs.map((run) => run.name) : shorten(report.runs.map((run) => run.name));
report.runs.forEach((run, i) => Object.assign(run, { label: labels[i], colour: i, shown: true }));

// A worker has one colour throughout the page.
const fleet = [...new Set(report.runs.flatMap((run) => run.workers.map((w) => w.name)))].sort();
for (const worker of report.runs.flatMap((run) => run.workers)) {
  worker.colour = fleet.indexOf(worker.name);
  const bare = worker.name.replace(/^https?:\/\//, "");
  worker.label = worker.count > 1 ? `${worker.count} others` : bare || "no worker";
}

// ---- What is compared: name, value, how it reads, and which way is better (1 up, -1 down, 0 neither).
const spread = (key, which) => (s) => s[key]?.[which] ?? null;
const milliseconds = (v) => seconds(v / 1e3);
const METRICS = [
  ["Requests", (s) => s.requests, number, 0],
  ["Failures", (s) => s.failures, number, -1],
  ["Duration", (s) => s.duration, clock, 0],
  ["Throughput, requests/s", (s) => s.requests_per_second, number, 1],
  ["Throughput, tokens/s", (s) => s.tokens_per_second, number, 1],
  ["Latency, mean", spread("latency", "mean"), seconds, -1, "begins"],
  ["Latency, median", spread("latency", "p50"), seconds, -1],
  ["Latency, 90 %", spread("latency", "p90"), seconds, -1],
  ["Latency, 99 %", spread("latency", "p99"), seconds, -1],
  ["First token, median", spread("ttft", "p50"), seconds, -1, "begins"],
  ["First token, 99 %", spread("ttft", "p99"), seconds, -1],
  ["Per token, median", spread("tpot", "p50"), seconds, -1],
  ["Per token, 99 %", spread("tpot", "p99"), seconds, -1],
  ["In the queue, median", spread("queue_time", "p50"), seconds, -1, "begins"],
  ["In the queue, 99 %", spread("queue_time", "p99"), seconds, -1],
  ["Busiest worker's share", (s) => s.busiest_share, percent, 0],
  ["Decision, median", spread("decision_ms", "p50"), milliseconds, -1, "begins"],
  ["Decision, 99 %", spread("decision_ms", "p99"), milliseconds, -1],
];

function ratio(value, base, better) {
  if (!(base > 0) || value === null) return "";
  const r = value / base;
  const gain = better * (r - 1);
  const mood = Math.abs(r - 1) < 0.02 || better === 0 ? "" : gain > 0 ? "good" : "bad";
  const sign = { good: "better", bad: "worse", "": "" }[mood];
  return el("small", { class: mood, title: sign }, `×${r >= 100 ? Math.round(r) : r.toFixed(2)}`);
}

function comparison() {
  const runs = report.runs;
  const head = el("tr", {}, el("th", { scope: "col" }, runs.length > 1 ? "× is to the first run" : ""),
    ...runs.map((run) => el("th", { scope: "col", title: run.name },
      el("span", { class: "run", mark: run.colour }, el("i", { "aria-hidden": "true" }), run.label))));
  const rows = METRICS.filter(([, of]) => runs.some((run) => of(run.summary) !== null)).map(([name, of, format, better, begins]) =>
    el("tr", { class: begins ?? "" }, el("th", { scope: "row" }, name), ...runs.map((run, i) => {
      const value = of(run.summary);
      return el("td", {}, value === null ? "–" : format(value), i > 0 ? ratio(value, of(runs[0].summary), better) : null);
    })));
  return el("div", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Comparison of the runs" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

// ---- All runs in one chart each.
const perRun = (values) => report.runs.map((run, i) => ({ label: run.label, colour: run.colour, run: i, axis: run.axis, values: values(run) }));

function distributions() {
  const grid = el("div", { class: "grid three" });
  const of = (id, title, about, key) => distribution(grid, { id, title, about, fractions, lines: perRun((run) => run.curves[key]) });
  of("latency", "Latency", "Part of the requests that were answered within this time.", "latency");
  of("ttft", "Time to first token", "Part of the requests whose first token came within this time.", "ttft");
  of("tpot", "Time per token", "Per token after the first.", "tpot");
  return grid.children.length ? section("How long it took", oneSeed, grid) : null;
}

function overTime() {
  const grid = el("div", { class: "grid" });
  const line = (id, title, about, values, format) => timeline(grid, { id, title, about, format, lines: perRun(values) });
  line("requests", "Requests per second", "Requests answered whole, when their last byte came.", (run) => run.rates.requests, number);
  line("tokens", "Tokens per second", "Generated tokens of the requests that ended.",
    (run) => (run.summary.tokens_per_second === null ? [] : run.rates.tokens), number);
  line("in-flight", "In flight", "Requests sent and not ended, on average, counted from the rows.", (run) => run.load.in_flight, number);
  line("waiting", "Waiting", waitingAbout(report.runs), (run) => run.load.waiting, number);
  if (report.runs.some((run) => run.summary.failures > 0)) {
    line("failures", "Failures per second", null, (run) => run.rates.failures, number);
  }
  return grid.children.length ? section("Over time", oneSeed ?? "Each run from its own beginning.", grid) : null;
}

function waitingAbout(runs) {
  const reported = runs.some((run) => run.waiting === "reported");
  const counted = runs.some((run) => run.waiting === "counted");
  const how = ["Requests in the workers' queues"];
  if (reported) how.push("as the workers reported");
  if (counted) how.push(`${reported ? "or " : ""}counted from the time each was queued`);
  return `${how.join(", ")}.`;
}

// ---- One run at a time.
function workersTable(run) {
  const head = ["Worker", "Share", "Requests", "Failures", "Tokens/s", "Latency, median", "99 %", "First token, median", "99 %"];
  const rows = run.workers.map((w) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: "swatch", mark: w.colour, "aria-hidden": "true" }), w.label),
    el("td", {}, el("span", { class: "bar", mark: w.colour, "aria-hidden": "true" }, widthOf(w.share)), percent(w.share)),
    ...[number(w.requests), number(w.failures), number(w.tokens_per_second), seconds(w.latency?.p50), seconds(w.latency?.p99),
      seconds(w.ttft?.p50), seconds(w.ttft?.p99)].map((text) => el("td", {}, text))));
  return el("div", { class: "card scroll wide", tabindex: "0", role: "region", "aria-label": "Workers" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, ...rows)));
}
function widthOf(part) {
  const bar = el("i");
  bar.style.width = `${part * 100}%`;
  return bar;
}

function reasonsTable(run) {
  const total = run.choices.total;
  const rows = run.reasons.map(([name, n], i) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: "swatch", mark: i, "aria-hidden": "true" }), name || "(none)"),
    el("td", {}, el("span", { class: "bar", mark: i, "aria-hidden": "true" }, widthOf(n / total)), percent(n / total)),
    el("td", {}, number(n))));
  const head = ["Reason", "Share", "Decisions"];
  return el("div", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Reasons" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, ...rows)));
}

function runCharts(run) {
  const grid = el("div", { class: "grid" });
  grid.append(workersTable(run));
  const perWorker = (values) => run.workers.map((w) => ({ label: w.label, colour: w.colour, axis: run.axis, share: w.share, values: values(w) }));
  if (run.workers.length > 0) {
    shares(grid, { id: "share", title: "Share of each worker", about: "Of the requests answered.", axis: run.axis, lines: perWorker((w) => w.rate) });
    distribution(grid, { id: "worker-latency", title: "Latency by worker", about: "Part of the requests that were answered within this time.",
      fractions, lines: perWorker((w) => w.curve) });
    timeline(grid, { id: "worker-in-flight", title: "In flight by worker", about: "On average, counted from the rows.",
      format: number, lines: perWorker((w) => w.load.in_flight) });
    timeline(grid, { id: "worker-waiting", title: "Waiting by worker", about: waitingAbout([run]),
      format: number, lines: perWorker((w) => w.load.waiting) });
  }
  if (run.choices.total > 0) decisionCharts(grid, run);
  forecastCharts(grid, run.forecasts);
  return grid;
}

function decisionCharts(grid, run) {
  const { total, at } = run.choices;
  const sampled = at.length < total ? ` ${number(at.length)} of ${number(total)} are shown.` : "";
  lanes(grid, { id: "decisions", title: "Decisions", about: `When each worker was chosen, and why.${sampled}`, run, wide: true });
  const full = "Full where it was decided by gradients, open where not.";
  const of = (id, title, about, column, format) => decided(grid, { id, title, about, run, column, format });
  const drawn = [
    of("score", "Score of the chosen worker", `Each mark is a decision. ${full}`, "score", number),
    of("throughput-gradient", "Throughput gradient", "Of the chosen worker, in tokens/s per second.", "throughput_gradient", number),
    of("latency-gradient", "Latency gradient", "Of the chosen worker, in seconds per second.", "latency_gradient", number),
  ];
  grid.append(reasonsTable(run));
  if (drawn.every((d) => d === null)) {
    grid.append(el("p", { class: "card about" }, "The decisions of this file carry no gradients and no score."));
  }
}

function oneByOne() {
  if (report.runs.length === 0) return null;
  const body = el("div", { id: "one-run" });
  const show = (at) => {
    forget(body);
    body.replaceChildren(runCharts(report.runs[at]));
    chips.forEach((chip, i) => {
      chip.setAttribute("aria-checked", String(i === at));
      chip.tabIndex = i === at ? 0 : -1;
    });
    if (body.isConnected) drawAll(plots.filter((entry) => body.contains(entry.host)));
  };
  const chips = report.runs.map((run, i) => {
    const chip = chipOf(run, { role: "radio" });
    chip.addEventListener("click", () => show(i));
    return chip;
  });
  const row = el("div", { class: "row", role: "radiogroup", "aria-label": "Run to look into" }, ...chips);
  row.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (chips.findIndex((chip) => chip.tabIndex === 0) + step + chips.length) % chips.length;
    show(next);
    chips[next].focus();
  });
  show(0);
  const title = report.runs.length === 1 ? "Worker by worker" : report.simulation ? "Policy by policy" : "Run by run";
  return section(title, oneSeed, report.runs.length > 1 ? row : "", el("div", { style: "height: 0.8rem" }), body);
}

function chipOf(run, attributes) {
  return el("button", { type: "button", class: "chip", mark: run.colour, title: run.name, ...attributes },
    el("i", { "aria-hidden": "true", class: run.colour >= 8 ? "dashed" : "" }), run.label);
}

// The row at the top hides runs in the common charts and shows them again.
function runRow() {
  const chips = report.runs.map((run, i) => {
    const chip = chipOf(run, { "aria-pressed": "true" });
    chip.addEventListener("click", () => {
      run.shown = !run.shown;
      chip.setAttribute("aria-pressed", String(run.shown));
      for (const { plot, spec } of plots) {
        spec.series.forEach((s, at) => {
          if (s.run !== i) return;
          s.show = run.shown;
          plot.setSeries(at + 1, { show: run.shown });
        });
      }
    });
    return chip;
  });
  return el("div", { class: "row" }, ...chips);
}

// ---- Problems and the audit.
function notices() {
  const all = report.problems;
  if (all.length === 0) return null;
  const text = (p) => [p.file, p.line && `line ${p.line}`, p.column && `column ${p.column}`].filter(Boolean).join(", ");
  const list = el("ul", {}, ...all.map((p) => el("li", {}, el("strong", {}, `${text(p)}: `), p.message)));
  const box = el("details", { class: "notice" }, el("summary", {}, `${plural(all.length, "notice")} about the files`), list);
  box.open = all.length <= 5;
  return box;
}

function auditSection(audit) {
  const clean = audit.wrong === 0;
  const verdict = audit.by_gradients === 0 ? "No decision in this recording was made by gradients."
    : `${plural(audit.matching, "decision")} of ${number(audit.by_gradients)} by gradients match the recording's own completions.`;
  const more = [
    audit.unknown > 0 ? `${number(audit.unknown)} look at completions from before this file and cannot be judged.` : null,
    audit.lost > 0 ? `${plural(audit.lost, "row")} of the recording are missing, so decisions after them need not match.` : null,
    clean ? null : `${plural(audit.wrong, "row")} with faults: ${audit.counts.filter(([, n]) => n).map(([name, n]) => `${name} ${number(n)}`).join(", ")}.`,
  ].filter(Boolean).join(" ");
  const shown = audit.findings.slice(0, 200);
  const head = ["Line", "Request", "Worker", "What is wrong"];
  const rows = shown.map((f) => el("tr", {}, el("th", { scope: "row" }, audit.files.length > 1 ? `${f.file}:${f.line}` : String(f.line)),
    ...[f.request_id, f.worker.replace(/^https?:\/\//, ""), f.faults.join("; ")].map((text) => el("td", { class: "text" }, text))));
  const table = rows.length === 0 ? null : el("div", { class: "card scroll tall", tabindex: "0", role: "region", "aria-label": "Rows with faults" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col", class: "text" }, h)))), el("tbody", {}, ...rows)));
  const rest = audit.wrong > shown.length ? el("p", { class: "about" }, `The first ${shown.length} of ${number(audit.wrong)} rows are listed.`) : null;
  return section("Audit of the decisions", audit.files.join(", "),
    el("p", {}, el("span", { class: `verdict ${clean ? "good" : "bad"}` }, `${clean ? "✓" : "✗"} ${verdict}`), more ? ` ${more}` : ""), table, rest);
}

const requests = report.runs.reduce((sum, run) => sum + run.summary.requests, 0);
const decisions = report.runs.reduce((sum, run) => sum + run.summary.decisions, 0);
document.getElementById("lead").textContent = [
  report.simulation ? plural(report.runs.length, "policy", "policies") : plural(report.runs.length, "run"),
  report.simulation ? `${plural(report.runs[0].summary.requests, "request")} each` : plural(requests, "request"),
  decisions ? plural(decisions, "decision") : null].filter(Boolean).join(" · ");
if (report.runs.length > 1) document.getElementById("runs").append(runRow());
else document.getElementById("runs").remove();
const sim = report.simulation;
const glance = sim ? simulatedSections(sim) : [report.runs.length ? section("At a glance", null, comparison()) : null];
const parts = [notices(), ...glance, report.audit ? auditSection(report.audit) : null, distributions(), overTime(), oneByOne(),
  sim ? fidelitySection(sim) : null];
main.append(...parts.filter(Boolean));
drawAll();
document.documentElement.dataset.drawn = String(plots.length);
