// Runs beside each other: the findings in words, what makes runs not comparable, and differences with their intervals.
"use strict";

// A number and its unit stay in one line.
const unbroken = (text) => text.replace(/(\d) (%|s|ms|µs)(?![\p{L}\d])/gu, "$1\u00a0$2");

// The findings, one sentence each.
function inWords() {
  if (report.words.length === 0) return null;
  return el("section", { id: "words", "aria-label": "In short" }, el("h2", {}, "In short"),
    el("ul", { class: "card words" }, ...report.words.map((sentence) => el("li", {}, unbroken(sentence)))));
}

// Why runs may not be comparable.
function comparability() {
  const all = report.comparisons.flatMap(({ base, run, warnings }) =>
    warnings.map((warning) => [`${report.runs[base].label} and ${report.runs[run].label}: `, warning]));
  if (all.length === 0) return null;
  return el("aside", { class: "notice", id: "comparability", "aria-label": "Comparability" },
    el("strong", {}, `${plural(all.length, "reason")} why runs may not be comparable`),
    el("ul", {}, ...all.map(([names, warning]) => el("li", {}, el("strong", {}, names), unbroken(warning)))));
}

// ---- Differences.
const change = (ratio) => `${ratio < 1 ? "−" : "+"}${number(Math.abs(ratio - 1) * 100)} %`;
const axisChange = (v) => (Math.abs(v) < 1e-9 ? "0" : `${v < 0 ? "−" : "+"}${tick(Math.abs(v) * 100)} %`);

function differences() {
  if (report.comparisons.length === 0) return null;
  const grid = el("div", { class: "grid" });
  for (const base of [...new Set(report.comparisons.map((c) => c.base))]) differencesTo(grid, base);
  return section("Differences",
    "The intervals say what chance among the requests of these runs can do. They do not say how two more runs would differ: for that, repeat each run.", grid);
}

function differencesTo(grid, base) {
  const found = report.comparisons.filter((c) => c.base === base);
  const name = report.runs[base].label;
  const names = [...new Set(found.flatMap((c) => c.measures.map((m) => m.name)))];
  const lines = found.map((c) => ({
    label: report.runs[c.run].label, colour: report.runs[c.run].colour, run: c.run,
    found: names.map((row) => {
      const m = c.measures.find((measure) => measure.name === row);
      return m && m.base > 0 ? { value: m.value / m.base, range: m.ratio && [m.ratio.low, m.ratio.high] } : null;
    }),
  }));
  forest(grid, { id: "differences", of: name, title: `Change against ${name}`, names, lines,
    about: "With 95 % intervals; to the left is faster. An interval that crosses 0 tells no difference." });
  const paired = found.filter((c) => c.differences.length > 0);
  distribution(grid, { id: "paired-differences", of: name, title: `Difference from ${name}, request by request`, signed: true, fractions,
    about: "Part of the requests whose latency differs by at most this much; left of 0 are those that were faster.",
    xTitle: `Latency minus that of the same request of ${name}`,
    lines: paired.map((c) => ({ label: report.runs[c.run].label, colour: report.runs[c.run].colour, run: c.run, values: c.differences })) });
  for (const c of found) grid.append(differenceTable(c));
}

// How requests stand to each other, and where the intervals come from.
function method(c) {
  const drawn = `Intervals by circular block bootstrap: ${c.block === 1 ? "single requests" : `blocks of ${whole(c.block)} neighbouring requests`}, drawn ${whole(c.resamples)} times.`;
  if (c.method === "separate") return `Compared as two samples, because ${c.why_separate}. ${drawn}`;
  const left = c.left_out > 0 ? `; ${plural(c.left_out, "request")} that did not succeed in both ${c.left_out === 1 ? "is" : "are"} left out` : "";
  return `From ${plural(c.requests, "request")}, each beside the same one of the other run${left}. ${drawn}`;
}

function differenceTable(c) {
  const [base, run] = [report.runs[c.base], report.runs[c.run]];
  const range = (r, format) => (r ? `${format(r.low)} to ${format(r.high)}` : "–");
  const signed = (v) => `${v < 0 ? "−" : "+"}${seconds(Math.abs(v))}`;
  const rows = c.measures.map((m) => {
    // Less is better for all of them.
    const mood = !m.ratio || (m.ratio.low <= 1 && m.ratio.high >= 1) ? "" : m.ratio.high < 1 ? "good" : "bad";
    return tableRow(m.name.replace(" %", "\u00a0%"), [seconds(m.base), seconds(m.value), signed(m.value - m.base), range(m.difference, signed),
      el("td", { class: mood }, m.base > 0 ? change(m.value / m.base) : "–"), range(m.ratio, change)],
    { class: /^(First token|Per token), mean/.test(m.name) ? "begins" : "" });
  });
  return tableCard({ title: `${run.label} beside ${base.label}`, about: method(c), wide: true, rows,
    head: ["", runHead(base.name, base.colour, base.label), runHead(run.name, run.colour, run.label),
      "Difference", "95 % interval", "Change", "95 % interval"] });
}
