// What is wrong now, in words, and whether the stream flows.
let announced = "";

const problemKey = (problem) => [problem.code, problem.model, problem.workers.join()].join("|");

function makeProblem() {
  return el("li", {}, el("b", { class: "severity" }), el("span", { class: "said" }, el("span"), el("small")), button(word("show"), () => {}, { class: "quiet" }));
}
function updateProblem(node, problem) {
  const [severity, said, show] = node.children, [text, age] = said.children;
  setClass(node, problem.severity);
  setText(severity, word(problem.severity));
  setText(text, problem[language]);
  setText(age, problem.since ? `${word("since")} ${span(now.at - problem.since)}` : "");
  show.hidden = problem.workers.length === 0;
  show.onclick = () => showInFleet(problem.count === 1 ? problem.workers[0] : "");
  show.setAttribute("aria-label", `${word("show")}: ${problem[language]}`);
}
function drawProblems() {
  const good = { code: "none", severity: "good", workers: [], en: WORDS.en.none, zh: WORDS.zh.none };
  keyed($("problems"), now.problems.length ? now.problems : [good], problemKey, makeProblem, updateProblem);
  const grave = now.problems.filter((problem) => problem.severity !== "info").length;
  document.title = `${grave ? `(${grave}) ` : ""}sgl-router`;
  // Told once when the subjects change: figures in the sentences change twice a second.
  const subjects = language + now.problems.map(problemKey).join("\n");
  if (subjects === announced) return;
  announced = subjects;
  setText($("announced"), now.problems.map((problem) => problem[language]).join(" ") || word("none"));
}
function drawConnection() {
  const { word: name, isBad, detail } = connection;
  setClass($("connection"), isBad ? "bad" : name);
  setText($("connection"), word(name));
  document.body.classList.toggle("stale", isBad && now !== null);
  const alarm = $("disconnected");
  alarm.hidden = !isBad;
  const age = now && isBad ? `${word("stale")} ${span((Date.now() - heardAt) / 1000)}.` : "";
  setText(alarm.firstElementChild, [word(name), detail, age].filter(Boolean).join(" "));
  $("enter-key").hidden = !name.startsWith("key");
  $("forget-key").hidden = !key;
}
