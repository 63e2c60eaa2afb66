// The table of the workers: a hundred rows at a time, of which only changed cells are written.
const ROWS = 100, POINTS = 60;
const BAD = { unhealthy: 0, pending: 2, not_ready: 3, draining: 4, drained: 5, healthy: 6 };
const badness = (row) => (row.breaker === "open" ? 1 : BAD[row.state] ?? 6) - (slow(row) ? 0.5 : 0);
const slow = (row) => now.problems.some((p) => p.code === "worker_slow" && p.workers.includes(row.name));
const COLUMNS = [
  ["worker", (r) => r.name, (r) => [short(r.name), [r.model, r.zone].filter(Boolean).join(" · ")], "th"],
  ["state", badness, (r) => [r.breaker === "open" ? `${stateName(r.state)}, breaker open` : stateName(r.state), r.cause?.message ?? (slow(r) ? now.problems.find((p) => p.code === "worker_slow")[language] : "")], "text"],
  ["inFlight", (r) => r.in_flight, (r) => [r.cap === null ? `${r.in_flight}` : `${r.in_flight} ${word("of")} ${r.cap}`]],
  ["share", (r) => r.share, (r) => [percent(r.share)]],
  ["ttft50", (r) => r.ttft_p50, (r) => [seconds(r.ttft_p50)]],
  ["ttft99", (r) => r.ttft_p99, (r) => [seconds(r.ttft_p99)]],
  ["tokens", (r) => r.tokens_per_sec, (r) => [number(r.tokens_per_sec)]],
  ["cached", (r) => r.cached_share, (r) => [percent(r.cached_share)]],
  ["speed", (r) => r.relative_speed, (r) => [number(r.stream_speed), r.relative_speed === null ? "" : `×${number(r.relative_speed)}`]],
  ["error", (r) => r.forecast_error, (r) => [percent(r.forecast_error)]],
  ["fault", (r) => r.last_fault?.at ?? null, (r) => [r.last_fault ? r.last_fault.reason : word("unknown")], "text"],
];
let sorted = { column: 1, down: false }, page = 0, lastOrder = 0, shown = [];
const drawn = new Map(), loads = new Map();
function forgetRows() { loads.clear(); lastOrder = 0; }

function fleetHead() {
  const heads = COLUMNS.map(([name], at) => el("th", { scope: "col", "aria-sort": sorted.column !== at ? "none" : sorted.down ? "descending" : "ascending" },
    el("button", { type: "button", click: () => { sorted = { column: at, down: sorted.column === at ? !sorted.down : at > 1 }; page = 0; lastOrder = 0; fleetHead(); fleet(); } }, word(name))));
  $("fleet").tHead.rows[0].replaceChildren(...heads, el("th", { scope: "col" }, word("curve")), el("th", { scope: "col" }, word("manage")));
}
function chosen() {
  const text = $("search").value.toLowerCase(), model = $("model").value, zone = $("zone").value;
  const labels = (r) => Object.entries(r.labels).map((pair) => pair.join("=")).join(" ");
  return [...now.workers.values()].filter((r) => (!model || r.model === model) && (!zone || r.zone === zone) && (!text || `${r.name} ${labels(r)}`.toLowerCase().includes(text)));
}
function order() {
  const of = COLUMNS[sorted.column][1], sign = sorted.down ? -1 : 1;
  const compare = (a, b) => { const [x, y] = [of(a), of(b)]; if (x === y) return 0; if (x === null) return 1; if (y === null) return -1; return x < y ? -sign : sign; };
  return chosen().sort((a, b) => compare(a, b) || (a.name < b.name ? -1 : 1));
}
function makeRow(row) {
  const cells = COLUMNS.map(([, , , kind]) => { const main = el("span"), sub = el("small", { class: "cause" }); return { cell: el(kind === "th" ? "th" : "td", kind === "th" ? { scope: "row" } : kind ? { class: kind } : {}, main, sub), main, sub }; });
  const canvas = el("canvas", { width: 144, height: 40, "aria-hidden": "true" });
  const line = el("tr", {}, ...cells.map((c) => c.cell), el("td", {}, canvas), el("td", {}, el("button", { type: "button", "aria-label": `${word("manage")} ${short(row.name)}`, click: () => manage(now.workers.get(row.id) ?? row) }, "⋯")));
  return { line, cells, canvas };
}
function curve(canvas, values) {
  const c = canvas.getContext("2d"), top = Math.max(1, ...values);
  c.clearRect(0, 0, 144, 40);
  c.strokeStyle = getComputedStyle(document.body).getPropertyValue("--c0"); c.lineWidth = 3; c.beginPath();
  values.forEach((v, i) => c.lineTo(((POINTS - values.length + i) / (POINTS - 1)) * 144, 37 - (v / top) * 34)); c.stroke();
}
function options(select, values) {
  const all = ["", ...new Set(values.filter(Boolean))].sort();
  if (select.dataset.of === all.join("\n") + language) return;
  const value = select.value;
  select.dataset.of = all.join("\n") + language;
  select.replaceChildren(...all.map((v) => el("option", { value: v }, v || word("all")))); select.value = value;
}
function fleet() {
  options($("model"), [...now.workers.values()].map((r) => r.model)); options($("zone"), [...now.workers.values()].map((r) => r.zone));
  if (now.at - lastOrder >= 2 || now.at < lastOrder || shown.some((r) => !now.workers.has(r.id))) { shown = order(); lastOrder = now.at; }
  page = Math.min(page, Math.max(0, Math.ceil(shown.length / ROWS) - 1));
  const rows = shown.slice(page * ROWS, (page + 1) * ROWS), body = $("fleet").tBodies[0];
  rows.forEach((row, at) => {
    let made = drawn.get(row.id); if (!made) drawn.set(row.id, (made = makeRow(row)));
    COLUMNS.forEach(([, , form], i) => { const [main, sub] = form(row); setText(made.cells[i].main, main); setText(made.cells[i].sub, sub ?? ""); });
    const state = made.cells[1].cell, mood = row.state === "unhealthy" || row.breaker === "open" || slow(row) ? "text bad" : row.state === "healthy" ? "text" : "text info";
    if (state.className !== mood) state.className = mood;
    curve(made.canvas, loads.get(row.id) ?? []);
    if (body.children[at] !== made.line) body.insertBefore(made.line, body.children[at] ?? null);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  const ids = new Set(rows.map((r) => r.id)); for (const id of drawn.keys()) if (!ids.has(id)) drawn.delete(id);
  setText($("place"), shown.length ? `${page * ROWS + 1}–${page * ROWS + rows.length} ${word("of")} ${shown.length}` : "0");
  $("earlier").disabled = page === 0; $("later").disabled = (page + 1) * ROWS >= shown.length;
}
function noteLoads() {
  for (const row of now.workers.values()) { const list = loads.get(row.id) ?? []; list.push(row.in_flight); if (list.length > POINTS) list.shift(); loads.set(row.id, list); }
  if (loads.size > now.workers.size) for (const id of loads.keys()) if (!now.workers.has(id)) loads.delete(id);
}
