// What the router foresaw of a run's requests beside what came. page.js calls it.
"use strict";

// "64–127" for the doubling from 64.
const doublingFrom = (from) => (from === 0 ? "none" : from === 1 ? "1" : `${whole(from)}–${whole(2 * from - 1)}`);

function forecastCharts(grid, { classes, lengths, length_tenths: tenths, coverage, unranked, cached }) {
  if (classes.length > 0) {
    calibration(grid, classes);
    foreseen(grid, { id: "length-forecasts", title: "Lengths: forecast and true", tenths,
      about: "Means of tenths of the answers, from the shortest forecasts to the longest, in tokens. On the dashed line forecasts are right on average." });
    if (coverage.length > 0) grid.append(coverageTable(coverage, unranked));
    grid.append(classTable(classes), lengthTable(lengths));
  }
  if (cached) {
    foreseen(grid, { id: "cache-forecasts", title: "Cached tokens: predicted and reported", tenths: cached.tenths,
      about: "Means of tenths of the answers, from the fewest predicted cached tokens to the most. Below the dashed line caches held less than predicted." });
    grid.append(cacheTable(cached));
  }
}

// What was predicted and what came, as means of tenths of the answers.
function foreseen(grid, { id, title, about, tenths }) {
  if (tenths.length < 2) return;
  const high = Math.max(...tenths.flatMap((t) => [t.predicted, t.came])) * 1.05 || 1;
  // The ideal line has points of its own at both ends.
  const x = [0, ...tenths.map((t) => t.predicted), high];
  chart(grid, {
    id, title, about, told: tenths.map((t) => `predicted ${whole(t.predicted)}, came ${whole(t.came)}`).join(". "),
    x, xLabel: "predicted", xFormat: number, xAxisFormat: tick, xRange: [0, high], xTitle: "Predicted, tokens",
    yFormat: number, yAxisFormat: tick, yRange: [0, high], yTitle: "Came, tokens",
    series: [{ label: "ideal", values: x, width: 1 },
      { label: "came", values: [null, ...tenths.map((t) => t.came), null], points: { show: true, size: 7 } }],
    restyle: (spec) => {
      Object.assign(spec.series[0], { colour: css("--soft"), dash: [4, 4] });
      Object.assign(spec.series[1], { colour: colour(0) });
    },
  });
}

// How many answers lay in the central parts of their forecasts.
function coverageTable(coverage, unranked) {
  const rows = coverage.map((row) => tableRow(`central ${percent(row.part)}`, [shareCell(row.share, 0), percent(row.below), percent(row.above)]));
  return tableCard({ title: "Coverage of the length forecasts",
    about: "Part of the answers in the central parts of their forecasts, and beyond each end. If forecasts are calibrated, the share is that of the part, and half of the rest is at each end."
      + (unranked > 0 ? ` Without ${plural(unranked, "answer")} that a limit cut off or whose length was stated: their ranks say nothing of the spread.` : ""),
    head: ["Part of the forecast", "Answers in it", "Shorter", "Longer"], rows });
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
    x: quantiles, xLabel: "quantile", xFormat: percent, xAxisFormat: (v) => (v < 0.99 ? `${Math.round(v * 100)} %` : ""), xRange: [0, 1], xTitle: "Quantile of the forecast",
    yTitle: "Part of the answers",
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
    el("span", {}, swatch(i), c.name),
    [whole(c.answers), percent(c.answers / total), number(c.expected), number(c.came), times(c.factor?.p50), times(c.factor?.p90)]));
  return tableCard({ title: "Forecasts by class", wide: true,
    about: "The class that each forecast came from; mean lengths in tokens, and how many times longer or shorter than expected the answers were.",
    head: ["Class", "Answers", "Share", "Expected", "Came", "Off, median", "90 %"], rows });
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
  return tableCard({ title: "True length against forecast", wide: true,
    about: "Part of the answers of each expected length (rows, tokens) that had each true length (columns, tokens). Framed cells are of the length that was expected.",
    head: ["Expected", "Answers", ...columns.map((at) => doublingFrom(2 ** at))], rows });
}

function cacheTable(cached) {
  const cells = (c) => [whole(c.answers), whole(c.predicted), whole(c.reported),
    c.reported > 0 ? percent(c.predicted / c.reported) : "–", number(c.mispredicted / c.answers)];
  return tableCard({ title: "Cached prompt tokens", wide: true,
    about: "What the policy predicted in the cache of the worker that it chose, and what the worker reported, by what was predicted for the request.",
    head: ["Predicted", "Answers", "Predicted tokens", "Reported tokens", "Predicted of reported", "Off per answer"],
    rows: cached.rows.map((row) => tableRow(doublingFrom(row.from), cells(row))), foot: tableRow("all", cells(cached)) });
}
