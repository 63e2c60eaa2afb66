// The fleet in figures, the queue, the figures of scaling, and the shadow policies.
function drawTotals() {
  const t = now.totals;
  const all = [
    ["workers", `${t.healthy} ${word("of")} ${t.workers}`], ["inFlight", number(t.in_flight)], ["requests", number(t.requests_per_sec)],
    ["tokens", number(t.tokens_per_sec)], ["ttft50", seconds(t.ttft_p50)], ["ttft99", seconds(t.ttft_p99)],
    ["cached", percent(t.cached_share)], ["retries", number(t.retries_per_sec)],
  ];
  keyed($("totals"), all, ([name]) => name, ([name]) => el("div", {}, el("dt", {}, word(name)), el("dd")), (node, [, value]) => setText(node.lastElementChild, value));
  setText($("window"), `${word("window")} ${span(now.router.window_secs)}${language === "zh" ? "。" : "."}`);
}
const makeLine = () => el("tr", {}, el("th", { scope: "row" }), el("td", {}, el("span"), el("small")));
function updateLine(node, { name, value, about = "", mood: kind = "" }) {
  setText(node.firstElementChild, name);
  setText(node.lastElementChild.firstElementChild, value);
  setText(node.lastElementChild.lastElementChild, about);
  setClass(node, kind);
}
const drawLines = (table, lines) => keyed(table.tBodies[0], lines, (line) => line.name, makeLine, updateLine);

function drawQueue() {
  const q = now.queue;
  const lines = q.waiting.map((w) => ({ name: [word(w.class), w.model].filter(Boolean).join(" · "), value: number(w.requests), mood: "warn" }));
  if (!lines.length) lines.push({ name: word("nobody"), value: "" });
  if (q.oldest_since) lines.push({ name: word("oldest"), value: span(now.at - q.oldest_since), mood: "warn" });
  for (const r of q.refusals) {
    lines.push({ name: `${word("refused")}: ${r.reason.replaceAll("_", " ")}`, value: `${number(r.per_sec)}/s`, about: `${r.count} ${word("inAll")}`, mood: r.per_sec > 0 ? "bad" : "" });
  }
  drawLines($("queue"), lines);
}
function drawScale() {
  const lines = now.scale.flatMap((pool) => {
    const of = now.scale.length > 1 ? ` (${[pool.pool, pool.model].filter(Boolean).join(" · ")})` : "";
    const { saturation, workers_needed: needed } = pool;
    return [
      { name: word("saturation") + of, value: known(saturation.value, (v) => percent(v)), about: saturation.reason, mood: saturation.value > 1 ? "warn" : "" },
      { name: word("needed") + of, value: known(needed.value, (v) => `${Math.ceil(v)}`), about: `${word("present")} ${pool.workers} · ${needed.reason}`, mood: needed.value > pool.workers ? "warn" : "" },
    ];
  });
  drawLines($("scale"), lines);
}

/** A gain with its interval, green or red where the interval says which. */
function gain(cell, estimate) {
  const text = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)} %`;
  setText(cell.firstElementChild, known(estimate, (e) => text(e.value)));
  setText(cell.lastElementChild, estimate ? `${text(estimate.low)} … ${text(estimate.high)}` : "");
  setClass(cell, !estimate || (estimate.low <= 0 && estimate.high >= 0) ? "" : estimate.high < 0 ? "good" : "bad");
}
function drawShadows() {
  const cell = () => el("td", {}, el("span"), el("small"));
  $("shadow-box").hidden = now.shadows.length === 0;
  $("no-shadow").hidden = now.shadows.length > 0;
  keyed($("shadows").tBodies[0], now.shadows, (s) => `${s.policy}|${s.model}`, (s) => el("tr", {}, el("th", { scope: "row" }, [s.policy, now.models.length > 1 ? s.model : ""].filter(Boolean).join(" · ")), cell(), cell(), cell(), cell()), (node, s) => {
    const [, agreement, mean, p99, decisions] = node.children;
    setText(agreement.firstElementChild, percent(s.agreement));
    gain(mean, s.mean);
    gain(p99, s.p99);
    setText(decisions.firstElementChild, `${s.decisions}`);
  });
}
