// Charts: their setup and each kind of chart. page.js passes the data.
"use strict";

const plots = []; // every chart on the page: { host, options(), data, plot, runs }

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (i) => css(`--c${i % 8}`);
const dash = (i) => (i >= 8 ? [7, 4] : undefined);

// Numbers with three significant digits: with trailing zeros in tables, without them on axes.
function digits(v, keep) {
  if (v === null || v === undefined) return "–";
  const size = Math.abs(v);
  if (size >= 1000) return Math.round(v).toLocaleString("en");
  const text = size !== 0 && size < 0.001 ? v.toExponential(1)
    : keep && !Number.isInteger(v) ? v.toPrecision(3) : String(Number(v.toPrecision(3)));
  return text.replace("-", "−");
}
function unit(v, keep) {
  if (v === null || v === undefined) return "–";
  const size = Math.abs(v);
  if (size >= 1 || size === 0) return `${digits(v, keep)} s`;
  return size >= 1e-3 ? `${digits(v * 1e3, keep)} ms` : `${digits(v * 1e6, keep)} µs`;
}
const number = (v) => digits(v, true);
const tick = (v) => digits(v, false);
const seconds = (v) => unit(v, true);
const tickSeconds = (v) => unit(v, false);
function clock(v) {
  if (v === null || v === undefined) return "–";
  if (v < 600) return `${tick(v)} s`;
  const [h, m, s] = [Math.floor(v / 3600), Math.floor(v / 60) % 60, Math.round(v % 60)];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
const wholePercent = (v) => `${Math.round(v * 100)} %`;
const percent = (v) => (v === null || v === undefined ? "–" : `${number(v * 100)} %`);

// Adds a chart to the page. `spec`: title, about, told (the chart in words), x, series, xFormat, yFormat, and options.
// Axis titles (xTitle, yTitle) are in saved figures only: on the page the title and the text above the chart say them.
function chart(into, spec) {
  const figure = document.createElement("figure");
  figure.className = spec.wide ? "card wide" : "card";
  const caption = document.createElement("figcaption");
  const title = document.createElement("h3");
  title.textContent = spec.title;
  caption.append(title);
  if (spec.about) {
    const about = document.createElement("p");
    about.className = "about";
    about.textContent = spec.about;
    caption.append(about);
  }
  const host = document.createElement("div");
  host.className = "plot";
  host.dataset.chart = spec.id;
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", spec.told ? `${spec.title}. ${spec.told}` : spec.title);
  const entry = { host, spec, plot: null, of: into.dataset.of };
  // `of` of a chart itself tells files apart whose titles do so, too.
  figure.append(saveButtons(spec.title, [spec.id, spec.of ?? entry.of], () => svgOf(entry)), caption, host);
  into.append(figure);
  plots.push(entry);
  return entry;
}

function axis(format, more) {
  const font = `12px ${css("--font")}`;
  const room = (u, labels) => (labels ? 14 + 7 * Math.max(...labels.map((l) => String(l ?? "").length)) : 40);
  return {
    stroke: css("--soft"), font, gap: 4,
    grid: { stroke: css("--line"), width: 1 },
    ticks: { show: false },
    values: (u, splits) => splits.map((v) => (v === null ? "" : format(v))),
    size: more?.side ? room : 30,
    ...more?.options,
  };
}

function options({ host, spec }) {
  const x = { label: spec.xLabel, value: (u, v) => (v === null ? "–" : spec.xFormat(v)) };
  const series = spec.series.map((s) => ({
    label: s.label,
    stroke: s.colour, fill: s.fill, width: s.width ?? 1.75, dash: s.dash,
    show: s.show ?? true, spanGaps: s.spanGaps ?? false, paths: s.paths,
    points: s.points ?? { show: false },
    value: (u, v, i, at) => (at === null ? "–" : (s.format ?? spec.yFormat)(s.raw ? s.raw[at] : v)),
  }));
  return {
    width: Math.max(host.clientWidth, 200),
    height: spec.height ?? 230,
    padding: [10, 12, 0, 0],
    scales: {
      x: { time: false, distr: spec.logX ? 3 : 1, log: 10, range: spec.xRange },
      y: { range: spec.yRange ?? ((u, low, high) => [Math.min(0, low), high > 0 || low < 0 ? Math.max(high * 1.06, 0) : 1]) },
    },
    axes: [
      axis(spec.xAxisFormat ?? spec.xFormat, { options: spec.logX ? { filter: logTicks } : { space: 54 } }),
      axis(spec.yAxisFormat ?? spec.yFormat, { side: true, options: spec.yAxis }),
    ],
    series: [x, ...series],
    cursor: { show: !spec.still, points: { size: 7 }, drag: { x: true, y: false } },
    legend: { live: !spec.still, markers: { width: 0, fill: (u, i) => spec.series[i - 1].fill ?? spec.series[i - 1].colour } },
    hooks: spec.draw ? { draw: [spec.draw] } : {},
  };
}

// A logarithmic axis has labels only at 1, 2 and 5 times powers of ten.
function logTicks(u, splits) {
  const decades = Math.log10(u.scales.x.max / u.scales.x.min);
  const named = decades > 2.2 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 5];
  return splits.map((v) => {
    const lead = v / 10 ** Math.floor(Math.log10(v) + 1e-9);
    return named.some((n) => Math.abs(lead - n) < 1e-6) ? v : null;
  });
}

// (Re)draws one chart with the current colours and size.
function draw(entry) {
  entry.plot?.destroy();
  entry.host.replaceChildren();
  const spec = entry.spec;
  spec.restyle?.(spec);
  entry.plot = new uPlot(options(entry), [spec.x, ...spec.series.map((s) => s.values)], entry.host);
}

const resized = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    const plot = plots.find((entry) => entry.host === target)?.plot;
    const width = target.clientWidth;
    if (plot && width > 0 && Math.abs(plot.width - width) > 1) plot.setSize({ width, height: plot.height });
  }
});

function drawAll(entries = plots) {
  for (const entry of entries) {
    draw(entry);
    resized.observe(entry.host);
  }
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());

// Forgets the charts inside an element that is about to be removed.
function forget(element) {
  for (let i = plots.length - 1; i >= 0; i--) {
    if (!element.contains(plots[i].host)) continue;
    resized.unobserve(plots[i].host);
    plots[i].plot?.destroy();
    plots.splice(i, 1);
  }
}

// The fraction of the values that are at most v; `values` are the quantiles at `fractions`.
function partUpTo(values, fractions, v) {
  if (v < values[0]) return 0;
  let [low, high] = [0, values.length - 1];
  if (v >= values[high]) return 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if (values[mid] <= v) low = mid;
    else high = mid;
  }
  const step = values[high] - values[low];
  return fractions[low] + (step > 0 ? ((v - values[low]) / step) * (fractions[high] - fractions[low]) : 0);
}

// Where a chart of distributions has its points; on a logarithmic axis if values differ much.
function positiveGrid(lines, at) {
  const low = Math.min(...lines.map((line) => Math.max(line.values[0], 1e-6)));
  const high = Math.max(...lines.map((line) => at(line, 0.999)), low * 1.01);
  const logX = high / low > 30;
  const grid = Array.from({ length: 401 }, (_, i) =>
    logX ? low * (high / low) ** (i / 400) : low * 0.98 + (high - low * 0.98) * (i / 400));
  return { grid, logX };
}
// The same for differences: 0 is always on it, and outliers do not flatten the rest.
function signedGrid(lines, at) {
  const low = Math.min(0, ...lines.map((line) => at(line, 0.01)));
  const high = Math.max(0, ...lines.map((line) => at(line, 0.99)));
  const room = (high - low || 1e-3) * 0.05;
  const grid = Array.from({ length: 401 }, (_, i) => low - room + (high - low + 2 * room) * (i / 400));
  return { grid, logX: false };
}

// A chart of distributions. `lines`: label, colour index, values at the fractions. `signed`: values may be negative.
function distribution(into, { id, title, about, lines, fractions, wide, signed, xTitle, of }) {
  const known = lines.filter((line) => line.values.length > 0);
  if (known.length === 0) return null;
  const at = (line, f) => line.values[fractions.findIndex((g) => g >= f)];
  const { grid, logX } = signed ? signedGrid(known, at) : positiveGrid(known, at);
  const middle = known.map((line) => `${line.label}: median ${seconds(at(line, 0.5))}, 99 % within ${seconds(at(line, 0.99))}`);
  return chart(into, {
    id, title, about, wide, of, told: middle.join(". "),
    x: grid, xLabel: "within", xFormat: seconds, xAxisFormat: tickSeconds, yFormat: percent, logX,
    xTitle: xTitle ?? title, yTitle: "Part of the requests", draw: signed ? zeroLine : null,
    yRange: [0, 1.0], yAxis: { splits: () => [0, 0.25, 0.5, 0.75, 0.9, 1], size: 46 },
    yAxisFormat: wholePercent,
    xRange: [grid[0], grid[grid.length - 1]],
    series: known.map((line) => ({
      label: line.label, run: line.run,
      values: grid.map((v) => partUpTo(line.values, fractions, v)),
    })),
    restyle: (spec) => spec.series.forEach((s, i) => Object.assign(s, { colour: colour(known[i].colour), dash: dash(known[i].colour) })),
  });
}

// A dashed line at 0 of the x axis.
function zeroLine(u) {
  const { ctx } = u;
  const x = u.valToPos(0, "x", true);
  ctx.save();
  ctx.strokeStyle = css("--soft");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(x, u.bbox.top);
  ctx.lineTo(x, u.bbox.top + u.bbox.height);
  ctx.stroke();
  ctx.restore();
}

const TIME_TITLE = "Time since the beginning of the run";

// A chart over time. `lines`: label, colour index, axis { width, buckets }, values. `range`: of the y axis.
function timeline(into, { id, title, about, lines, format, wide, range, yTitle }) {
  const known = lines.filter((line) => line.values.some((v) => v !== null));
  if (known.length === 0) return null;
  const tables = known.map((line) => [
    line.values.map((_, i) => Number(((i + 0.5) * line.axis.width).toPrecision(9))), line.values,
  ]);
  const [x, ...values] = tables.length > 1 ? uPlot.join(tables) : tables[0];
  const peak = known.map((line) => `${line.label}: at most ${format(Math.max(...line.values.map((v) => v ?? 0)))}`);
  return chart(into, {
    id, title, about, wide, told: peak.join(". "),
    x, xLabel: "at", xFormat: clock, yFormat: format, yAxisFormat: format === percent ? wholePercent : tick, draw: happenings,
    xTitle: TIME_TITLE, yTitle: yTitle ?? title, yRange: range,
    series: known.map((line, i) => ({ label: line.label, run: line.run, values: values[i], spanGaps: true })),
    restyle: (spec) => spec.series.forEach((s, i) => Object.assign(s, { colour: colour(known[i].colour), dash: dash(known[i].colour) })),
  });
}

// Values on top of each other in about thirty steps of time. `scaled`: from the sums of the lines in a step and their total
// to what is drawn.
function stacked(into, { lines, axis: { width }, scaled, ...spec }) {
  const length = lines[0]?.values.length ?? 0;
  const step = Math.max(1, Math.ceil(length / 30));
  const bins = Math.ceil(length / step);
  const sums = lines.map((line) => Array.from({ length: bins }, (_, b) =>
    line.values.slice(b * step, (b + 1) * step).reduce((a, v) => a + v, 0)));
  const totals = Array.from({ length: bins }, (_, b) => sums.reduce((a, s) => a + s[b], 0));
  const parts = sums.map((s) => s.map((v, b) => scaled(v, totals[b])));
  let below = new Array(bins).fill(0);
  const tops = parts.map((p) => (below = below.map((v, b) => (p[b] === null ? null : v + p[b]))));
  // The last bin is given twice, so that its step is seen.
  const close = (values) => [...values, values[values.length - 1] ?? null];
  const order = lines.map((_, i) => i).reverse();
  return chart(into, {
    x: Array.from({ length: bins + 1 }, (_, b) => b * step * width),
    xLabel: "from", xFormat: clock, xTitle: TIME_TITLE,
    // Painted from the top down: each fill covers what of the one above does not show.
    series: order.map((i) => ({
      label: lines[i].label, values: close(tops[i]), raw: close(parts[i]), width: 1,
      paths: uPlot.paths.stepped({ align: 1 }),
    })),
    restyle: (spec) => spec.series.forEach((s, at) => {
      const c = colour(lines[order[at]].colour);
      Object.assign(s, { colour: css("--card"), fill: c, points: { show: false, fill: c } });
    }),
    ...spec,
  });
}

// Stacked shares over time.
function shares(into, spec) {
  return stacked(into, {
    ...spec, told: spec.lines.map((l) => `${l.label}: ${percent(l.share)} in all`).join(". "),
    scaled: (sum, total) => (total > 0 ? sum / total : null),
    yFormat: percent, yRange: [0, 1], yAxis: { splits: () => [0, 0.25, 0.5, 0.75, 1], size: 46 }, yAxisFormat: wholePercent,
    yTitle: "Part of the requests",
  });
}

// Stacked counts over time. `lines`: label, colour index, total, values per second.
function counts(into, spec) {
  const { axis, lines } = spec;
  const step = Math.max(1, Math.ceil((lines[0]?.values.length ?? 0) / 30));
  const per = clock(Number((step * axis.width).toPrecision(6)));
  return stacked(into, {
    ...spec, about: `How many in each ${per}, when they happened.`,
    told: lines.map((l) => `${l.label}: ${whole(l.total)}`).join(". "),
    scaled: (sum) => Math.round(sum * axis.width), yFormat: number, yAxisFormat: tick, yTitle: `Number in ${per}`,
  });
}

// Changes with their intervals, a row for each name. `lines`: label, colour index, found: a ratio `value` and its `range` for
// each name, or null.
function forest(into, { id, title, about, names, lines, wide, of }) {
  const known = lines.filter((line) => line.found.some((f) => f));
  if (known.length === 0) return null;
  const ends = known.flatMap((line) => line.found.flatMap((f) => (f ? [f.value - 1, ...(f.range ?? []).map((r) => r - 1)] : [])));
  const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const room = (high - low || 0.1) * 0.06;
  const last = names.length - 1;
  const marks = (u) => {
    const { ctx } = u;
    const scale = devicePixelRatio;
    zeroLine(u);
    ctx.save();
    known.forEach((line, i) => {
      if (!u.series[i + 1].show) return;
      ctx.strokeStyle = colour(line.colour);
      ctx.lineWidth = 2 * scale;
      line.found.forEach((f, row) => {
        if (!f) return;
        // Lines of one row are beside each other.
        const y = u.valToPos(last - row + (0.5 - (i + 0.5) / known.length) * 0.7, "y", true);
        const at = (ratio) => u.valToPos(ratio - 1, "x", true);
        if (f.range) {
          ctx.beginPath();
          ctx.moveTo(at(f.range[0]), y);
          ctx.lineTo(at(f.range[1]), y);
          for (const end of f.range) {
            ctx.moveTo(at(end), y - 3.5 * scale);
            ctx.lineTo(at(end), y + 3.5 * scale);
          }
          ctx.stroke();
        }
        ctx.beginPath();
        ctx.arc(at(f.value), y, 3.6 * scale, 0, 2 * Math.PI);
        ctx.fillStyle = f.range ? colour(line.colour) : css("--card");
        ctx.fill();
        ctx.stroke();
      });
    });
    ctx.restore();
  };
  const told = known.map((line) => `${line.label}: ${names.map((name, row) => (line.found[row] ? `${name} ${change(line.found[row].value)}` : null)).filter(Boolean).join(", ")}`);
  return chart(into, {
    id, title, about, wide, of, told: told.join(". "), still: true, draw: marks,
    height: 58 + names.length * Math.max(24, 6 + 13 * known.length),
    x: [low - room, high + room], xFormat: axisChange, xAxisFormat: axisChange, xRange: [low - room, high + room], xTitle: title,
    yFormat: (v) => names[last - v] ?? "", yRange: [-0.6, last + 0.6],
    yAxis: { splits: () => names.map((_, i) => i), grid: { show: false } },
    series: known.map((line) => ({ label: line.label, run: line.run, width: 0, paths: () => null, values: [null, null] })),
    restyle: (spec) => spec.series.forEach((s, i) => { s.colour = colour(known[i].colour); }),
  });
}

// A value of decisions, with a mark per decision: filled if it was made by gradients, open if not.
function decided(into, { id, title, about, run, column, format, wide }) {
  const { choices, workers, reasons } = run;
  const values = choices[column];
  if (!values.some((v) => v !== null)) return null;
  const byGradient = reasons.findIndex(([name]) => name === "gradient_based");
  const mark = (u) => {
    const { ctx } = u;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    ctx.lineWidth = 1.3 * scale;
    choices.at.forEach((at, i) => {
      if (values[i] === null) return;
      const [x, y] = [u.valToPos(at, "x", true), u.valToPos(values[i], "y", true)];
      ctx.strokeStyle = ctx.fillStyle = colour(workers[choices.worker[i]].colour);
      ctx.beginPath();
      ctx.arc(x, y, 2.6 * scale, 0, 2 * Math.PI);
      if (choices.reason[i] === byGradient) ctx.fill();
      else {
        ctx.fillStyle = css("--card");
        ctx.fill();
        ctx.stroke();
      }
    });
    ctx.restore();
  };
  const used = workers.map((w, i) => i).filter((i) => values.some((v, at) => v !== null && choices.worker[at] === i));
  return chart(into, {
    id, title, about, wide, told: `${values.filter((v) => v !== null).length} decisions are marked.`,
    x: choices.at, xLabel: "at", xFormat: clock, yFormat: format, yAxisFormat: tick, draw: mark, xTitle: TIME_TITLE, yTitle: title,
    yRange: robust(values),
    series: used.map((worker) => ({
      label: workers[worker].label, spanGaps: true, width: 0.75,
      values: values.map((v, at) => (choices.worker[at] === worker ? v : null)),
    })),
    restyle: (spec) => spec.series.forEach((s, i) => { s.colour = colour(workers[used[i]].colour); }),
  });
}

// A range that outliers do not flatten: the 1st to the 99th percentile, with a margin.
function robust(values) {
  const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
  const at = (f) => sorted[Math.min(sorted.length - 1, Math.floor(f * sorted.length))];
  const [low, high] = [Math.min(at(0.01), 0), Math.max(at(0.99), 0)];
  const room = (high - low || 1) * 0.08;
  return [low - room, high + room];
}

// Every decision as a stroke on its worker's line, in the colour of its reason.
function lanes(into, { id, title, about, run, wide }) {
  const { choices, workers, reasons } = run;
  if (choices.at.length === 0) return null;
  const rows = workers.length;
  const strokes = (u) => {
    const { ctx } = u;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.lineWidth = Math.max(1, (choices.at.length > 600 ? 1 : 1.5) * scale);
    const half = Math.min(9 * scale, (u.bbox.height / rows) * 0.36);
    choices.at.forEach((at, i) => {
      const [x, y] = [u.valToPos(at, "x", true), u.valToPos(rows - 1 - choices.worker[i], "y", true)];
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
      ctx.strokeStyle = colour(choices.reason[i]);
      ctx.beginPath();
      ctx.moveTo(x, y - half);
      ctx.lineTo(x, y + half);
      ctx.stroke();
    });
    ctx.restore();
  };
  const labelled = (v) => workers[rows - 1 - v]?.label ?? "";
  return chart(into, {
    id, title, about, wide, told: reasons.map(([name, n]) => `${name}: ${n}`).join(". "),
    height: Math.max(110, 58 + 30 * rows),
    x: choices.at, xLabel: "at", xFormat: clock, yFormat: labelled, draw: strokes, xTitle: TIME_TITLE,
    yRange: [-0.6, rows - 0.4], yAxis: { splits: () => workers.map((_, i) => i), grid: { show: false } },
    series: reasons.map(([name], reason) => ({
      label: name, width: 0, paths: () => null,
      values: choices.worker.map((w, i) => (choices.reason[i] === reason ? rows - 1 - w : null)),
    })),
    restyle: (spec) => spec.series.forEach((s, i) => { s.colour = colour(i); }),
  });
}
