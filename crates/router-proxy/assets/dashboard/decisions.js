// The last decisions, and where a prompt would go.
/** The costs of the candidates as bars, and their terms as a table that opens. */
function costBars(costs, worker) {
  const most = Math.max(1e-12, ...costs.map((c) => Math.abs(c.cost)));
  const bars = costs.flatMap((c) => {
    const isChosen = c.worker === worker, bar = el("i");
    bar.style.setProperty("width", `${(100 * Math.abs(c.cost)) / most}%`);
    bar.style.setProperty("--mark", `var(--c${isChosen ? 0 : 7})`);
    return [
      el("span", isChosen ? { class: "chosen" } : {}, isChosen ? `${short(c.worker)} (${word("chosen")})` : short(c.worker)),
      el("span", { class: "bar", "aria-hidden": "true" }, bar),
      el("span", { class: "cost" }, number(c.cost)),
    ];
  });
  return [el("div", { class: "costs" }, ...bars), termsOf(costs, worker)];
}
/** A table of the terms: a row for each candidate, a column for each term. It is made when it is opened. */
function termsOf(costs, worker) {
  const list = (terms) => (Array.isArray(terms) ? terms : Object.entries(terms).map(([name, value]) => ({ name, value })));
  const names = [...new Set(costs.flatMap((c) => list(c.terms).map((term) => term.name)))];
  if (!names.length) return null;
  const table = () => el("table", {}, el("caption", { class: "unseen" }, word("terms")),
    el("thead", {}, el("tr", {}, ...[word("worker"), word("cost"), ...names].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...costs.map((c) => {
      const values = new Map(list(c.terms).map((term) => [term.name, term.value]));
      return el("tr", c.worker === worker ? { class: "chosen" } : {}, el("th", { scope: "row" }, short(c.worker)), el("td", {}, number(c.cost)), ...names.map((name) => el("td", {}, number(values.get(name)))));
    })));
  const details = el("details", {}, el("summary", {}, word("terms")));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(el("div", { class: "scroll", tabindex: "0" }, table()));
  });
  return details;
}

const decisionKey = (d) => `${d.request_id}|${d.attempt}|${d.leg}|${d.at}`;
function makeDecision(d) {
  const time = new Date(1000 * d.at).toLocaleTimeString(language);
  const about = [d.reason.replaceAll("_", " "), d.policy, d.route, d.leg === "whole" ? "" : d.leg, d.attempt ? `${word("attempt")} ${d.attempt + 1}` : "", `${number(d.prompt_bytes)} B`, `${d.candidates} ${word("candidates")}`];
  const open = button(time, () => showTrace(d), { "aria-label": `${word("trace")} ${time}, ${short(d.worker)}`, class: "quiet" });
  return el("li", {}, el("div", { class: "row head" }, open, el("b", {}, short(d.worker)), el("span", { class: "about" }, about.filter(Boolean).join(" · "))),
    ...(d.costs.length ? costBars(d.costs, d.worker) : []),
    d.shadows.length ? el("p", { class: "about" }, `${word("shadows")}: ${d.shadows.map((s) => `${s.policy} → ${short(s.worker)}`).join(", ")}`) : null);
}
function drawDecisions() {
  const list = $("decisions"), isRead = list.matches(":hover, :focus-within");
  const newest = now.decisions.toReversed();
  const newer = isRead ? newest.findIndex((d) => list.nodesByKey?.has(decisionKey(d))) : 0;
  setText($("newer"), newer > 0 ? `+ ${newer} ${word("newer")}` : "");
  $("no-decisions").hidden = newest.length > 0;
  list.hidden = newest.length === 0;
  if (!isRead) keyed(list, newest, decisionKey, makeDecision, () => {});
}

/** Asks the router where a prompt would go, without sending it. */
async function askWhere(prompt) {
  const model = now && now.models.length > 1 ? $("model").value || now.models[0].model : undefined;
  const request = { model, messages: [{ role: "user", content: prompt }] };
  const host = $("answer");
  try {
    const response = await call("POST", "/v1/route?dry_run=true&path=/v1/chat/completions", request), answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    const about = [answer.reason.replaceAll("_", " "), answer.policy, word("notSent")].join(" · ");
    host.replaceChildren(el("p", {}, `${word("asked")} `, el("b", {}, short(answer.worker)), " ", el("span", { class: "about" }, about)), ...costBars(answer.scores.slice(0, 8), answer.worker).filter(Boolean));
  } catch (error) {
    host.replaceChildren(...answerBox({ isGood: false, title: word("refusedBy"), message: error.message, text: "" }));
  }
}
