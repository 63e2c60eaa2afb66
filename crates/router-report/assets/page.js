// The program of the page: what is on it, and in which order.
"use strict";

const report = JSON.parse(document.getElementById("report").textContent);
const fractions = JSON.parse(document.getElementById("fractions").textContent);
const main = document.getElementById("main");

// The charts of a simulation show one of its runs.
const oneSeed = report.simulation ? "The run with the first seed." : null;

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
  const rows = METRICS.filter(([, of]) => runs.some((run) => of(run.summary) !== null)).map(([name, of, format, better, begins]) =>
    tableRow(name, runs.map((run, i) => {
      const value = of(run.summary);
      return el("td", {}, value === null ? "–" : format(value), i > 0 ? ratio(value, of(runs[0].summary), better) : null);
    }), { class: begins ?? "" }));
  return tableCard({ title: "Comparison of the runs", rows,
    head: [runs.length > 1 ? "× is to the first run" : "", ...runs.map((run) => runHead(run.name, run.colour, run.label))] });
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
  const rows = shown.map((f) => tableRow(audit.files.length > 1 ? `${f.file}:${f.line}` : String(f.line),
    [f.request_id, f.worker.replace(/^https?:\/\//, ""), f.faults.join("; ")].map(textCell)));
  const table = rows.length === 0 ? null : tableCard({ title: "Rows with faults", kind: "tall", rows, text: [0, 1, 2, 3],
    head: ["Line", "Request", "Worker", "What is wrong"] });
  const rest = audit.wrong > shown.length ? el("p", { class: "about" }, `The first ${shown.length} of ${number(audit.wrong)} rows are listed.`) : null;
  return section("Audit of the decisions", audit.files.join(", "),
    el("p", {}, el("span", { class: `verdict ${clean ? "good" : "bad"}` }, `${clean ? "✓" : "✗"} ${verdict}`), more ? ` ${more}` : ""), table, rest);
}

// The size of it all in one line.
function lead() {
  const sum = (of) => report.runs.reduce((total, run) => total + of(run.summary), 0);
  const decisions = sum((s) => s.decisions);
  if (report.simulation) {
    const { policies } = report.simulation;
    const each = report.runs.length ? `${plural(report.runs[0].summary.requests, "request")} each` : null;
    return [plural(policies.length, "policy", "policies"), each];
  }
  return [plural(report.runs.length, "run"), plural(sum((s) => s.requests), "request"), decisions ? plural(decisions, "decision") : null];
}

document.getElementById("lead").textContent = lead().filter(Boolean).join(" · ");
if (report.runs.length > 1) document.getElementById("runs").append(runRow());
else document.getElementById("runs").remove();
const sim = report.simulation;
const glance = sim ? simulatedSections(sim) : [report.runs.length ? section("At a glance", null, comparison()) : null, differences()];
const parts = [inWords(), comparability(), notices(), ...glance, report.audit ? auditSection(report.audit) : null, distributions(), overTime(),
  oneByOne(), sim ? fidelitySection(sim) : null];
main.append(...parts.filter(Boolean));
drawAll();
document.documentElement.dataset.drawn = String(plots.length);
