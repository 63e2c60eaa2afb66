// What starts the page, and what all its parts share: drawing, language and theme.
let isDrawing = false;

/** Draws once before the next frame; a page that nobody sees is not drawn. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (now && !document.hidden) drawAll();
  });
}
function drawAll() {
  setText($("version"), now.router.version);
  setText($("policy-now"), `${word("policyNow")} ${[...new Set(now.models.map((model) => model.policy))].join(", ") || now.router.policy}.`);
  for (const part of [drawConnection, drawProblems, drawTotals, drawFleet, drawQueue, drawScale, drawDecisions, drawShadows]) part();
  document.documentElement.dataset.drawn = "yes";
}

/** Says everything anew, in the language that is chosen. */
function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-word]")) setText(node, word(node.dataset.word));
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", word(node.dataset.label));
  drawnRows.clear();
  $("fleet").tBodies[0].replaceChildren();
  [$("problems"), $("totals"), $("queue").tBodies[0], $("scale").tBodies[0], $("shadows").tBodies[0], $("decisions")].forEach(forget);
  drawFleetHead();
  drawConnection();
  draw();
}
/** Takes the colours of the theme, whichever the system has. */
function paint(theme) {
  document.documentElement.style.colorScheme = theme === "auto" ? "light dark" : theme;
  for (const sheet of document.styleSheets) {
    for (const rule of sheet.cssRules) {
      if (!rule.media || !rule.cssText.includes("--page")) continue;
      rule.media.mediaText = theme === "dark" ? "all" : theme === "light" ? "not all" : "(prefers-color-scheme: dark)";
    }
  }
}
/** Whether the policy can be changed, and if not, why. */
async function offerPolicies() {
  const answer = await answerOf(call("GET", "/v1/config"));
  $("policy").querySelectorAll("input, button").forEach((field) => { field.disabled = !answer.isGood; });
  setText($("policy-off"), answer.isGood ? "" : `${word("policyOff")} ${answer.message || answer.title}`);
}

$("theme").value = remembered("theme") ?? "auto";
paint($("theme").value);
$("theme").addEventListener("change", () => { remember("theme", $("theme").value); paint($("theme").value); draw(); });
$("language").value = language;
$("language").addEventListener("change", () => { language = $("language").value; remember("language", language); speak(); });
for (const id of ["search", "model", "zone"]) $(id).addEventListener("input", reorder);
$("clear").addEventListener("click", () => showInFleet(""));
$("earlier").addEventListener("click", () => turnPage(-ROWS));
$("later").addEventListener("click", () => turnPage(ROWS));
$("enter-key").addEventListener("click", () => askForKeyAgain());
$("forget-key").addEventListener("click", forgetKey);
$("ask").addEventListener("submit", (event) => { event.preventDefault(); askWhere($("prompt").value); });
$("policy").addEventListener("submit", (event) => { event.preventDefault(); changePolicy($("policy-name").value.trim()); });
$("policy").addEventListener("focusin", offerPolicies, { once: true });
document.addEventListener("visibilitychange", draw);
// How old the figures are goes on to change when nothing comes any more.
setInterval(() => { if (connection.isBad) drawConnection(); }, 1000);
speak();
watch();
