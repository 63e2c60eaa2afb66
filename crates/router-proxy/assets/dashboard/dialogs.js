// Questions before something is changed, and what the API answered.
function openDialog(title, body, buttons) {
  setText($("dialog-title"), title);
  $("dialog-body").replaceChildren(...body);
  $("dialog-answer").replaceChildren();
  $("dialog-buttons").replaceChildren(...buttons, button(word("close"), () => $("dialog").close()));
  if (!$("dialog").open) $("dialog").showModal();
}

/** What the API answered, in a sentence and as it came. */
async function answerOf(promise) {
  try {
    const response = await promise;
    let text = await response.text(), message = "";
    try {
      const body = JSON.parse(text);
      message = body.error?.message ?? "";
      text = JSON.stringify(body, null, 2);
    } catch { /* It is shown as it came. */ }
    return { isGood: response.ok, title: `${word(response.ok ? "answered" : "refusedBy")} ${response.status}`, message, text };
  } catch (error) {
    return { isGood: false, title: word("noAnswer"), message: error.message, text: "" };
  }
}
function answerBox({ isGood, title, message, text }) {
  return [
    el("p", { class: isGood ? "verdict good" : "verdict bad" }, title),
    message ? el("p", {}, message) : null,
    text ? el("pre", { tabindex: "0" }, text) : null,
  ].filter(Boolean);
}
async function showAnswer(promise) {
  const answer = await answerOf(promise);
  $("dialog-answer").replaceChildren(...answerBox(answer));
  return answer;
}

/** Asks, then acts once and shows the answer. */
function ask(title, body, act) {
  const sure = button(word("sure"), async () => {
    sure.disabled = true;
    await showAnswer(act());
    sure.hidden = true;
    $("dialog-buttons").lastElementChild.focus();
  }, { class: "primary" });
  openDialog(title, body, [sure]);
  return sure;
}

/** Asks for the key until one is given. */
function askKey(reason) {
  return new Promise((done) => {
    const input = el("input", { type: "password", autocomplete: "off", required: "" });
    const form = el("form", { id: "key-form", class: "row", submit: (event) => {
      event.preventDefault();
      key = input.value;
      sessionStorage.setItem("key", key);
      $("dialog").close();
      done();
    } }, el("label", { class: "wide" }, word("key"), " ", input));
    askForKeyAgain = () => {
      openDialog(word(reason), [el("p", { class: "about" }, word("keyAbout")), form],
        [el("button", { form: "key-form", class: "primary" }, word("use"))]);
      input.focus();
    };
    askForKeyAgain();
  });
}
let askForKeyAgain = () => {};
function forgetKey() {
  sessionStorage.removeItem("key");
  location.reload();
}

/** What can be done with one worker. */
function manageWorker(row) {
  const path = `/workers/${encodeURIComponent(row.id)}`;
  const name = short(row.name), isDrained = ["draining", "drained"].includes(row.state);
  const weight = el("input", { type: "number", min: "0", step: "any", value: row.weight, required: "" });
  const drain = (drained, question) => () =>
    ask(`${word(drained ? "drain" : "undrain").replace(/ ?…+/, "")}: ${name}`, [el("p", {}, word(question))], () => call("PUT", path, { drained }));
  const setWeight = (event) => {
    event.preventDefault();
    const wanted = Number(weight.value);
    ask(`${word("weight")}: ${name}`, [el("p", {}, `${word("weightAsk")} ${wanted} (${word("weightWas")} ${row.weight}).`)], () => call("PUT", path, { weight: wanted }));
  };
  openDialog(name, [
    el("p", {}, stateName(row.state), row.cause ? `: ${row.cause.message}` : ""),
    el("form", { class: "row", submit: setWeight }, el("label", {}, word("weight"), " ", weight), el("button", {}, word("setWeight"))),
  ], [
    isDrained ? button(word("undrain"), drain(false, "undrainAsk")) : button(word("drain"), drain(true, "drainAsk")),
  ]);
}

/** Asks the router what another policy would change, then whether to do it. */
async function changePolicy(policy) {
  const sure = ask(`${word("policy")}: ${policy}`, [el("p", { role: "status" }, word("connecting"))], () => call("PATCH", "/v1/config", { policy }));
  sure.disabled = true;
  const answer = await answerOf(call("PATCH", "/v1/config?dry_run=true", { policy }));
  sure.disabled = !answer.isGood;
  $("dialog-body").replaceChildren(...answerBox(answer.isGood ? { ...answer, title: word("wouldChange") } : answer));
}
function showTrace(decision) {
  openDialog(`${word("trace")} ${decision.request_id}`, now.router.has_traces ? [] : [el("p", {}, word("tracesOff"))], []);
  showAnswer(call("GET", `/v1/traces/${encodeURIComponent(decision.request_id)}`));
}
