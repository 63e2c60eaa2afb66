// The parts of the page beside the fleet, and what starts it.
let announced = "";
function problems() {
  const list = now.problems.map((p) => el("li", { class: p.severity }, p[language], p.since ? el("small", {}, `${word("since")} ${span(now.at - p.since)}`) : null));
  $("problems").replaceChildren(...(list.length ? list : [el("li", { class: "good" }, word("none"))]));
  const subjects = now.problems.map((p) => p.code + p.workers.join()).join();
  if (subjects !== announced) { announced = subjects; setText($("announced"), now.problems.length ? now.problems.map((p) => p[language]).join(" ") : word("none")); }
}
function totals() {
  const t = now.totals, all = [["workers", `${t.healthy} ${word("of")} ${t.workers}`], ["inFlight", number(t.in_flight)], ["requests", number(t.requests_per_sec)], ["tokens", number(t.tokens_per_sec)], ["ttft50", seconds(t.ttft_p50)], ["ttft99", seconds(t.ttft_p99)], ["cached", percent(t.cached_share)], ["retries", number(t.retries_per_sec)]];
  $("totals").replaceChildren(...all.map(([name, value]) => el("div", {}, el("dt", {}, word(name)), el("dd", {}, value))));
}
const line = (name, value, about) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value, about ? el("small", { class: "cause" }, about) : null));
function queue() {
  const q = now.queue, rows = q.waiting.map((w) => line(w.class.replaceAll("_", " ") + (w.model ? ` · ${w.model}` : ""), number(w.requests)));
  if (!rows.length) rows.push(line(word("nobody"), "0"));
  if (q.oldest_since) rows.push(line(word("oldest"), span(now.at - q.oldest_since)));
  for (const r of q.refusals) rows.push(line(`${word("refused")}: ${r.reason}`, `${number(r.per_sec)}/s`, `${r.count}`));
  $("queue").tBodies[0].replaceChildren(...rows);
  $("scale").tBodies[0].replaceChildren(...now.scale.flatMap((p) => { const of = [p.pool, p.model].filter(Boolean).join(" · "); return [line(`${word("saturation")} (${of})`, number(p.saturation.value), p.saturation.reason), line(`${word("needed")} (${of})`, p.workers_needed.value === null ? word("unknown") : `${Math.ceil(p.workers_needed.value)} (${p.workers})`, p.workers_needed.reason)]; }));
}
function bars(costs, worker) {
  const most = Math.max(1e-12, ...costs.map((c) => Math.abs(c.cost)));
  return el("div", { class: "costs" }, ...costs.flatMap((c) => {
    const bar = el("i"); bar.style.setProperty("width", `${(100 * Math.abs(c.cost)) / most}%`); bar.style.setProperty("--mark", `var(--c${c.worker === worker ? 0 : 7})`);
    const terms = (Array.isArray(c.terms) ? c.terms.map((t) => [t.name, t.value]) : Object.entries(c.terms)).map(([n, v]) => `${n} ${number(v)}`).join(", ");
    return [el("span", c.worker === worker ? { class: "chosen" } : {}, `${short(c.worker)}${c.worker === worker ? ` (${word("chosen")})` : ""}`), el("span", { class: "bar", title: terms }, bar), el("span", { title: terms }, number(c.cost))];
  }));
}
let lastDecision = null;
function decisions() {
  const newest = now.decisions.at(-1);
  if (newest && newest === lastDecision) return;
  lastDecision = newest ?? null;
  if ($("decisions").matches(":hover, :focus-within")) return;
  $("decisions").replaceChildren(...now.decisions.toReversed().map((d) => el("li", {},
    el("button", { type: "button", click: () => { open(`${word("trace")} ${d.request_id}`, [], []); answered(call("GET", `/v1/traces/${encodeURIComponent(d.request_id)}`)); } }, new Date(1000 * d.at).toLocaleTimeString()),
    ` ${short(d.worker)} · ${d.reason} · ${d.policy} · ${d.route} · ${number(d.prompt_bytes)} B`, d.costs.length ? bars(d.costs, d.worker) : null)));
}
function shadows() {
  const estimate = (e) => known(e, (x) => `${(100 * x.value).toFixed(1)} % (${(100 * x.low).toFixed(1)} – ${(100 * x.high).toFixed(1)})`);
  $("shadows").tBodies[0].replaceChildren(...(now.shadows.length ? now.shadows.map((s) => line(s.policy, `${word("mean")} ${estimate(s.mean)}, ${word("p99")} ${estimate(s.p99)}`, `${word("agree")} ${percent(s.agreement)}, n = ${s.decisions}`)) : [line(word("noShadow"), "")]));
}
function draw() { noteLoads(); setText($("version"), `${now.router.version} · ${now.router.policy}`); problems(); totals(); fleet(); queue(); decisions(); shadows(); document.documentElement.dataset.drawn = "yes"; }
function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-word]")) setText(node, word(node.dataset.word));
  drawn.clear(); $("fleet").tBodies[0].replaceChildren(); fleetHead(); lastDecision = undefined;
  if (now) { lastOrder = 0; draw(); }
}
function paint(theme) {
  document.documentElement.style.colorScheme = theme === "auto" ? "light dark" : theme;
  for (const sheet of document.styleSheets) for (const rule of sheet.cssRules)
    if (rule.media && rule.cssText.includes("--page")) rule.media.mediaText = theme === "dark" ? "all" : theme === "light" ? "not all" : "(prefers-color-scheme: dark)";
}
$("theme").addEventListener("change", () => paint($("theme").value));
$("language").value = language;
$("language").addEventListener("change", () => { language = $("language").value; speak(); });
for (const id of ["search", "model", "zone"]) $(id).addEventListener("input", () => { page = 0; lastOrder = 0; if (now) fleet(); });
$("earlier").addEventListener("click", () => { page--; fleet(); });
$("later").addEventListener("click", () => { page++; fleet(); });
$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const model = now?.models.length > 1 ? $("model").value || now.models[0].model : undefined;
  const response = await call("POST", "/v1/route?dry_run=true&path=/v1/chat/completions", { model, messages: [{ role: "user", content: $("prompt").value }] });
  const answer = await response.json();
  $("answer").replaceChildren(...(response.ok ? [el("p", {}, `${short(answer.worker)} · ${answer.reason} · ${answer.policy}`), bars(answer.scores.slice(0, 8), answer.worker)] : [el("p", {}, answer.error.message)]));
});
$("policy").addEventListener("submit", (event) => {
  event.preventDefault();
  const policy = $("policyName").value;
  confirmed(`${word("policy")}: ${policy}`, policy, async () => { const response = await call("PATCH", "/v1/config", { policy }); return response.status === 404 ? new Response(JSON.stringify({ error: word("policyOff") }), { status: 404 }) : response; });
});
speak();
watch();
