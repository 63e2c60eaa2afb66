// What the router foresaw of a run's requests beside what came. page.js calls it.
"use strict";

const whole = (v) => Math.round(v).toLocaleString("en");
// "64–127" for the doubling from 64.
const doublingFrom = (from) => (from === 0 ? "none" : from === 1 ? "1" : `${whole(from)}–${whole(2 * from - 1)}`);

// A card with a title, a text and a table.
function tableCard(title, about, head, rows, foot) {
  const cell = (tag, attributes, content) => el(tag, attributes, content);
  return el("div", { class: "card scroll wide", tabindex: "0", role: "region", "aria-label": title },
    el("table", {}, el("caption", {}, el("h3", {}, title), el("p", { class: "about" }, about)),
      el("thead", {}, el("tr", {}, ...head.map((h) => cell("th", { scope: "col" }, h)))), el("tbody", {}, ...rows),
      foot ? el("tfoot", {}, foot) : null));
}
const tableRow = (name, cells) => el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((text) => el("td", {}, text)));

function forecastCharts(grid, { classes, lengths, cached }) {
  if (classes.length > 0) {
    calibration(grid, classes);
    grid.append(classTable(classes), lengthTable(lengths));
  }
  if (cached) grid.append(cacheTable(cached));
}

// The share of the answers at or below each quantile of their forecasts, beside the line of a perfect forecast.
function calibration(grid, classes) {
  const known = classes.filter((c) => c.calibration.length > 0).slice(0, 8);
  if (known.length === 0) return;
  const steps = known[0].calibration.length - 1;
  const quantiles = Array.from({ length: steps + 1 }, (_, i) => i / steps);
  chart(grid, {
    id: "calibration", title: "Calibration of the length forecasts",
    about: "Part of the answers that were not longer than each quantile of their forecast. Below the ideal line answers were longer than forecast.",
    told: known.map((c) => `${c.name}: ${percent(c.calibration[steps / 2])} up to the median`).join(". "), wide: true,
    x: quantiles, xLabel: "quantile", xFormat: percent, xAxisFormat: (v) => (v < 0.99 ? `${Math.round(v * 100)} %` : ""), xRange: [0, 1],
    yFormat: percent, yAxisFormat: (v) => `${Math.round(v * 100)} %`, yRange: [0, 1],
    yAxis: { splits: () => [0, 0.25, 0.5, 0.75, 1], size: 46 },
    series: [{ label: "ideal", values: quantiles, width: 1 }, ...known.map((c) => ({ label: c.name, values: c.calibration }))],
    restyle: (spec) => spec.series.forEach((s, i) =>
      Object.assign(s, i === 0 ? { colour: css("--soft"), dash: [4, 4] } : { colour: colour(i - 1) })),
  });
}

function classTable(classes) {
  const total = classes.reduce((sum, c) => sum + c.answers, 0);
  const times = (v) => (v === null || v === undefined ? "–" : `×${v.toFixed(2)}`);
  const rows = classes.map((c, i) => tableRow(
    el("span", {}, el("span", { class: "swatch", mark: i, "aria-hidden": "true" }), c.name),
    [whole(c.answers), percent(c.answers / total), number(c.expected), number(c.came), times(c.factor?.p50), times(c.factor?.p90)]));
  return tableCard("Forecasts by class", "The class that each forecast came from; mean lengths in tokens, and how many times longer or shorter than expected the answers were.",
    ["Class", "Answers", "Share", "Expected", "Came", "Off, median", "90 %"], rows);
}

// Rows by expected length, columns by true length; a cell is darker the larger its share of the row.
function lengthTable(lengths) {
  const used = lengths.flatMap((row) => row.came.flatMap((n, i) => (n > 0 ? [i] : [])));
  const [low, high] = [Math.min(...used), Math.max(...used)];
  const columns = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  const rows = lengths.map((row) => el("tr", {}, el("th", { scope: "row" }, doublingFrom(row.from)), el("td", {}, whole(row.answers)),
    ...columns.map((at) => {
      const share = (row.came[at] ?? 0) / row.answers;
      const cell = el("td", { class: 2 ** at === row.from ? "heat same" : "heat" }, share > 0 ? `${share < 0.01 ? "<1" : Math.round(share * 100)} %` : "");
      cell.style.setProperty("--heat", `${Math.round(share * 70)}%`);
      return cell;
    })));
  return tableCard("True length against forecast", "Part of the answers of each expected length (rows, tokens) that had each true length (columns, tokens). Framed cells are of the length that was expected.",
    ["Expected", "Answers", ...columns.map((at) => doublingFrom(2 ** at))], rows);
}

function cacheTable(cached) {
  const cells = (c) => [whole(c.answers), whole(c.predicted), whole(c.reported),
    c.reported > 0 ? percent(c.predicted / c.reported) : "–", number(c.mispredicted / c.answers)];
  return tableCard("Cached prompt tokens", "What the policy predicted in the cache of the worker that it chose, and what the worker reported, by what was predicted for the request.",
    ["Predicted", "Answers", "Predicted tokens", "Reported tokens", "Predicted of reported", "Off per answer"],
    cached.rows.map((row) => tableRow(doublingFrom(row.from), cells(row))), tableRow("all", cells(cached)));
}
