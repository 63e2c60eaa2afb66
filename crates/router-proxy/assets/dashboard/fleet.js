// The table of the workers: a hundred rows at a time, of which only changed cells are written.
const ROWS = 100, POINTS = 60, CURVE = { width: 160, height: 44 };
const BADNESS = { unhealthy: 0, pending: 3, not_ready: 4, draining: 5, drained: 6, healthy: 7 };
/** The workers' requests in flight, the last [`POINTS`] of each. */
const loads = new Map();
/** The nodes of the rows that are shown, by the worker's id. */
const drawnRows = new Map();
let sorted = { column: "state", isDown: false }, firstRow = 0, orderedAt = 0, order = [];

const isDown = (row) => row.state === "unhealthy" || row.breaker === "open";
const badness = (row) => (isDown(row) ? 0 : row.is_slow ? 1 : row.is_overloaded || row.has_outdated_weights ? 2 : (BADNESS[row.state] ?? 7));
/** What is wrong with a worker, in a word or two. */
function condition(row) {
  if (row.state !== "healthy") return stateName(row.state);
  const flags = [[row.breaker === "open", "breakerOpen"], [row.is_slow, "slow"], [row.is_overloaded, "overloaded"], [row.has_outdated_weights, "outdated"]];
  const all = flags.filter(([is]) => is).map(([, name]) => word(name));
  return all.length ? all.join(", ") : stateName("healthy");
}
function mood(row) {
  if (isDown(row)) return "bad";
  if (row.state === "healthy") return row.is_slow || row.is_overloaded || row.has_outdated_weights ? "warn" : "good";
  return "off";
}
function speedBeside(row) {
  if (row.relative_speed !== null) return `×${number(row.relative_speed)} ${word("ofFleet")}`;
  // As long as it learns, a policy takes all to be equal.
  return row.predicted_slowness === null || row.predicted_slowness < 1.25 ? "" : `×${number(1 / row.predicted_slowness)} ${word("predicted")}`;
}
/** The columns: by what they are sorted, and what their cells say, in a line and a smaller one. */
const COLUMNS = [
  { name: "worker", by: (r) => r.name, text: (r) => [short(r.name), [r.model, r.zone].filter(Boolean).join(" · ")] },
  { name: "state", by: badness, text: (r) => [condition(r), r.cause?.message ?? ""] },
  { name: "inFlight", by: (r) => r.in_flight, text: (r) => [r.cap === null ? `${r.in_flight}` : `${r.in_flight} ${word("of")} ${r.cap}`] },
  { name: "share", by: (r) => r.share, text: (r) => [percent(r.share)] },
  { name: "ttft50", by: (r) => r.ttft_p50, text: (r) => [seconds(r.ttft_p50)] },
  { name: "ttft99", by: (r) => r.ttft_p99, text: (r) => [seconds(r.ttft_p99)] },
  { name: "tokens", by: (r) => r.tokens_per_sec, text: (r) => [number(r.tokens_per_sec)] },
  { name: "cached", by: (r) => r.cached_share, text: (r) => [percent(r.cached_share)] },
  { name: "speed", by: (r) => r.stream_speed, text: (r) => [number(r.stream_speed), speedBeside(r)] },
  { name: "error", by: (r) => r.forecast_error, text: (r) => [percent(r.forecast_error)] },
  { name: "fault", by: (r) => r.last_fault?.at ?? null, text: (r) => [known(r.last_fault, (f) => f.reason.replaceAll("_", " ")), r.last_fault ? `${span(now.at - r.last_fault.at)} ${word("ago")}` : ""] },
];

function forgetLoads() { loads.clear(); orderedAt = 0; }
function noteLoads() {
  for (const row of now.workers.values()) {
    let list = loads.get(row.id);
    if (!list) loads.set(row.id, (list = []));
    if (list.push(row.in_flight) > POINTS) list.shift();
  }
  if (loads.size > now.workers.size) for (const id of loads.keys()) if (!now.workers.has(id)) loads.delete(id);
}

function drawFleetHead() {
  const heads = COLUMNS.map(({ name }) => {
    const direction = sorted.column !== name ? "none" : sorted.isDown ? "descending" : "ascending";
    const sort = () => {
      sorted = { column: name, isDown: sorted.column === name ? !sorted.isDown : !["worker", "state"].includes(name) };
      reorder();
      drawFleetHead();
      $("fleet").tHead.querySelector(`[data-column="${name}"]`).focus();
    };
    return el("th", { scope: "col", "aria-sort": direction, class: name }, button(word(name), sort, { "data-column": name }));
  });
  const curve = el("th", { scope: "col" }, word("curve")), manage = el("th", { scope: "col" }, el("span", { class: "unseen" }, word("manage")));
  $("fleet").tHead.rows[0].replaceChildren(...heads, curve, manage);
}
function reorder() {
  [firstRow, orderedAt] = [0, 0];
  if (now) drawFleet();
}
function fitting() {
  const text = $("search").value.trim().toLowerCase(), model = $("model").value, zone = $("zone").value;
  const labels = (row) => Object.entries(row.labels).map((pair) => pair.join("=")).join(" ");
  return [...now.workers.values()].filter((row) =>
    (!model || row.model === model) && (!zone || row.zone === zone) && (!text || `${row.name} ${labels(row)}`.toLowerCase().includes(text)));
}
function inOrder() {
  const { by } = COLUMNS.find((column) => column.name === sorted.column), sign = sorted.isDown ? -1 : 1;
  const compare = (a, b) => {
    if (a === b) return 0;
    // What is unknown comes last, whichever way.
    if (a === null || b === null) return a === null ? 1 : -1;
    return a < b ? -sign : sign;
  };
  return fitting().sort((a, b) => compare(by(a), by(b)) || (a.name < b.name ? -1 : 1));
}
/** Shows one worker, or all with the bad ones first. */
function showInFleet(name) {
  $("search").value = name;
  for (const id of ["model", "zone"]) $(id).value = "";
  sorted = { column: "state", isDown: false };
  drawFleetHead();
  reorder();
  $("fleet-title").scrollIntoView({ block: "start" });
  $("search").focus({ preventScroll: true });
}

function makeRow(row) {
  const cells = COLUMNS.map(({ name }) => {
    const main = el("span"), sub = el("small");
    return { main, sub, cell: name === "worker" ? el("th", { scope: "row" }, main, sub) : el("td", { class: name }, main, sub) };
  });
  const canvas = el("canvas", { ...CURVE, "aria-hidden": "true" });
  const manage = button("⋯", () => manageWorker(now.workers.get(row.id) ?? row), { class: "quiet", "aria-label": `${word("manage")} ${short(row.name)}` });
  const line = el("tr", {}, ...cells.map(({ cell }) => cell), el("td", {}, canvas), el("td", {}, manage));
  return { line, cells, canvas };
}
function updateRow({ line, cells, canvas }, row, curve) {
  COLUMNS.forEach(({ text }, at) => {
    const [main, sub] = text(row);
    setText(cells[at].main, main);
    setText(cells[at].sub, sub ?? "");
  });
  setClass(line, mood(row));
  setClass(cells[1].main, "pill");
  drawCurve(canvas, loads.get(row.id) ?? [], curve);
}
function drawCurve(canvas, values, { top, stroke }) {
  const c = canvas.getContext("2d"), { width, height } = CURVE;
  const place = (value, at) => [((POINTS - values.length + at) / (POINTS - 1)) * (width - 4) + 2, height - 3 - (value / top) * (height - 6)];
  c.clearRect(0, 0, width, height);
  if (!values.length) return;
  c.beginPath();
  values.forEach((value, at) => c.lineTo(...place(value, at)));
  [c.strokeStyle, c.lineWidth] = [stroke, 3];
  c.stroke();
  c.lineTo(place(0, values.length - 1)[0], height);
  c.lineTo(place(0, 0)[0], height);
  [c.globalAlpha, c.fillStyle] = [0.18, stroke];
  c.fill();
  c.globalAlpha = 1;
}

/** The choices of a filter; it is hidden where all workers have the same. */
function drawChoices(select, values) {
  const distinct = new Set(values.map((value) => value ?? "")), all = [...distinct].filter(Boolean).sort();
  const drawn = [language, ...all].join("\n");
  select.parentElement.hidden = distinct.size < 2;
  if (select.dataset.drawn === drawn) return;
  const { value } = select;
  select.dataset.drawn = drawn;
  select.replaceChildren(el("option", { value: "" }, word("all")), ...all.map((text) => el("option", { value: text }, text)));
  select.value = all.includes(value) ? value : "";
}
function drawFleet() {
  const workers = [...now.workers.values()];
  drawChoices($("model"), workers.map((row) => row.model));
  drawChoices($("zone"), workers.map((row) => row.zone));
  // Rows that change places all the time cannot be read.
  if (now.at - orderedAt >= 3 || now.at < orderedAt || order.some((row) => now.workers.get(row.id) !== row)) [order, orderedAt] = [inOrder(), now.at];
  firstRow = Math.max(0, Math.min(firstRow, Math.floor((order.length - 1) / ROWS) * ROWS));
  const rows = order.slice(firstRow, firstRow + ROWS), body = $("fleet").tBodies[0];
  const top = Math.max(1, ...rows.flatMap((row) => loads.get(row.id) ?? []));
  const curve = { top, stroke: color("--c0") };
  rows.forEach((row, at) => {
    let made = drawnRows.get(row.id);
    if (!made) drawnRows.set(row.id, (made = makeRow(row)));
    updateRow(made, row, curve);
    if (body.children[at] !== made.line) body.insertBefore(made.line, body.children[at] ?? null);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  const ids = new Set(rows.map((row) => row.id));
  for (const id of drawnRows.keys()) if (!ids.has(id)) drawnRows.delete(id);
  $("no-rows").hidden = rows.length > 0;
  setText($("no-rows").firstElementChild, word(workers.length ? "nothingFits" : "noWorkers"));
  $("pages").hidden = order.length <= ROWS;
  setText($("place"), `${firstRow + 1}–${firstRow + rows.length} ${word("of")} ${order.length}`);
  $("earlier").disabled = firstRow === 0;
  $("later").disabled = firstRow + ROWS >= order.length;
}
function turnPage(rows) {
  firstRow += rows;
  drawFleet();
  $("fleet-title").scrollIntoView({ block: "start" });
}
