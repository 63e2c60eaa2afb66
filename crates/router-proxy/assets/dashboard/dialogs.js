// Questions before something is changed, and what the API answered.
function open(title, body, buttons) {
  setText($("dialog-title"), title);
  $("dialog-body").replaceChildren(...body);
  $("dialog-answer").hidden = true;
  $("dialog-buttons").replaceChildren(...buttons, el("button", { type: "button", click: () => $("dialog").close() }, word("close")));
  if (!$("dialog").open) $("dialog").showModal();
}
async function answered(promise) {
  let text;
  try {
    const response = await promise;
    const body = await response.text();
    try { text = `${response.status}\n${JSON.stringify(JSON.parse(body), null, 2)}`; } catch { text = `${response.status}\n${body}`; }
  } catch (error) { text = error.message; }
  $("dialog-answer").hidden = false;
  $("dialog-answer").textContent = text;
}
function confirmed(title, text, act) {
  const button = el("button", { type: "button", click: async () => { button.disabled = true; await answered(act()); } }, word("sure"));
  open(title, [el("p", {}, text)], [button]);
}
function askKey() {
  return new Promise((done) => {
    const input = el("input", { type: "password", autocomplete: "off", "aria-label": word("key") });
    const use = () => { key = input.value; sessionStorage.setItem("key", key); $("dialog").close(); };
    $("dialog").addEventListener("close", () => setTimeout(done, 300), { once: true });
    open(word("keyNeeded"), [input], [el("button", { type: "button", click: use }, "OK")]);
  });
}
function manage(row) {
  const path = `/workers/${encodeURIComponent(row.id)}`;
  const isDrained = ["draining", "drained"].includes(row.state);
  const input = el("input", { type: "number", min: 0, step: "any", value: row.weight, "aria-label": word("weight") });
  open(short(row.name), [el("p", {}, stateName(row.state), row.cause ? `: ${row.cause.message}` : "")], [
    el("button", { type: "button", click: () => confirmed(`${word("drain")}: ${short(row.name)}`, word("drainAsk"), () => call("PUT", path, { drained: true })), ...(isDrained ? { disabled: "" } : {}) }, word("drain")),
    el("button", { type: "button", click: () => confirmed(`${word("undrain")}: ${short(row.name)}`, word("undrainAsk"), () => call("PUT", path, { drained: false })), ...(isDrained ? {} : { disabled: "" }) }, word("undrain")),
    el("label", {}, word("weight"), " ", input),
    el("button", { type: "button", click: () => confirmed(`${word("weight")}: ${short(row.name)}`, `${word("weightAsk")} ${input.value}`, () => call("PUT", path, { weight: Number(input.value) })) }, word("change")),
  ]);
}
