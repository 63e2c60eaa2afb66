// One run at a time: its workers, decisions, shadow policies, retries and failures, and forecasts.
"use strict";

function workersTable(run) {
  const rows = run.workers.map((w) => tableRow(el("span", {}, swatch(w.colour), w.label),
    [shareCell(w.share, w.colour), number(w.requests), number(w.failures), number(w.tokens_per_second), seconds(w.latency?.p50),
      seconds(w.latency?.p99), seconds(w.ttft?.p50), seconds(w.ttft?.p99)]));
  return tableCard({ title: "Workers", wide: true, rows,
    head: ["Worker", "Share", "Requests", "Failures", "Tokens/s", "Latency, median", "99 %", "First token, median", "99 %"] });
}

function reasonsTable(run) {
  const total = run.choices.total;
  const rows = run.reasons.map(([name, n], i) =>
    tableRow(el("span", {}, swatch(i), name || "(none)"), [shareCell(n / total, i), number(n)]));
  return tableCard({ title: "Reasons", head: ["Reason", "Share", "Decisions"], rows });
}

function runCharts(run) {
  // Figures that are saved are named after the run.
  const grid = el("div", { class: "grid", "data-of": run.label });
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
  faultCharts(grid, run);
  if (run.choices.total > 0) decisionCharts(grid, run);
  shadowCharts(grid, run);
  forecastCharts(grid, run.forecasts);
  return grid;
}

// ---- Decisions.
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

// ---- Retries and failures.
function faultCharts(grid, run) {
  const { faults, axis } = run;
  if (faults.length === 0) return;
  counts(grid, { id: "faults", title: "Retries and failures", axis, wide: true, height: 170,
    lines: faults.map((fault, i) => ({ label: fault.kind, colour: i, total: fault.count, values: fault.rate })) });
  const rows = faults.map((fault, i) => {
    const [first, last] = fault.when ?? [null, null];
    const [worker, n] = fault.worker;
    const most = worker ? `${worker.replace(/^https?:\/\//, "")} (${whole(n)})` : "–";
    return tableRow(el("span", {}, swatch(i), fault.kind), [whole(fault.count), clock(first), clock(last), textCell(most)]);
  });
  grid.append(tableCard({ title: "Retries and failures by kind", wide: true, head: ["What", "Count", "First at", "Last at", "Most on"], text: [4], rows,
    about: "Attempts that were tried again, and what failed, with the worker that had most of them." }));
}

// ---- Shadow policies.
function shadowCharts(grid, run) {
  const known = run.shadows.filter((shadow) => shadow.decisions > 0);
  if (known.length === 0) return;
  const rated = known.some((shadow) => shadow.ratings);
  const rows = known.map((shadow, i) => {
    const [own, live] = shadow.ratings?.latency ?? [null, null];
    const cells = [whole(shadow.decisions), shareCell(shadow.agreed / shadow.decisions, i)];
    const costs = [number(shadow.ratings?.own_cost), number(shadow.ratings?.live_cost), seconds(own), seconds(live)];
    return tableRow(el("span", {}, swatch(i), shadow.policy), rated ? [...cells, ...costs] : cells);
  });
  grid.append(tableCard({ title: "Shadow policies", rows, wide: true,
    about: "What each would have done" + (rated ? ", its cost of its own and of the live choices, and the latency that it predicts for them: means over the decisions. It predicts for each choice alone: had it decided, later requests would have met other queues." : ". How it rates the choices is recorded with --record-candidates."),
    head: ["Policy", "Decisions", "Same worker", ...(rated ? ["Own cost", "Live cost", "Own latency", "Live latency"] : [])] }));
  timeline(grid, { id: "agreement", title: "Agreement of the shadows", format: percent, range: [0, 1],
    about: "Part of the decisions in which a shadow policy would have chosen the same worker.", yTitle: "Part of the decisions",
    lines: known.map((shadow, i) => ({ label: shadow.policy, colour: i, axis: run.axis, values: shadow.agreement })) });
  const live = known[0].live_shares;
  grid.append(tableCard({ title: "Where the shadows would have sent", wide: known.length > 1,
    about: `Share of each worker in the decisions of ${run.policy ?? "the live policy"} and of each shadow policy.`,
    head: ["Worker", run.policy ?? "live", ...known.map((shadow) => shadow.policy)],
    rows: run.workers.map((w, at) => tableRow(el("span", {}, swatch(w.colour), w.label),
      [shareCell(live[at], w.colour), ...known.map((shadow) => shareCell(shadow.shares[at], w.colour))])) }));
}

// ---- The section.
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
