// The stream of events, what was heard of it, and calls of the API. The key stays in this tab.
let key = sessionStorage.getItem("key");
/** The state of the router as it was heard last; `workers` is a map by id. */
let now = null;
/** Whether the stream flows: a word, and whether it is bad. */
let connection = { word: "connecting", isBad: false, detail: "" };
let heardAt = 0;

function call(method, path, body) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body === undefined) return fetch(path, { method, headers, cache: "no-store" });
  headers["content-type"] = "application/json";
  return fetch(path, { method, headers, body: JSON.stringify(body) });
}

/** Takes in an event of the stream. */
function take(name, data) {
  heardAt = Date.now();
  if (name === "snapshot") {
    now = { ...data, workers: new Map(data.workers.map((row) => [row.id, row])) };
    forgetLoads();
    return;
  }
  if (!now || data.seq !== now.seq + 1) throw new Error("an event is missing");
  for (const part of ["seq", "at", "router", "totals", "problems", "queue", "scale", "shadows", "models"]) {
    if (data[part] !== undefined) now[part] = data[part];
  }
  for (const id of data.left ?? []) now.workers.delete(id);
  for (const change of data.workers ?? []) Object.assign(now.workers.get(change.id) ?? {}, change);
  for (const row of data.joined ?? []) now.workers.set(row.id, row);
  if (data.decisions) now.decisions = [...now.decisions, ...data.decisions].slice(-50);
}

/** Reads events until the stream ends. */
async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const lines = text.slice(0, end).split("\n");
      const field = (name) => lines.find((line) => line.startsWith(name))?.slice(name.length);
      take(field("event: "), JSON.parse(field("data: ")));
      noteLoads();
      draw();
    }
  }
}

/** One stream, from its request to its end; whether to ask for a key before the next. */
async function watchOnce() {
  const response = await call("GET", "/v1/live");
  if (response.status === 401) return key ? "keyWrong" : "keyNeeded";
  if (!response.ok) {
    const said = await response.text();
    let message = `${response.status} ${said}`;
    try { message = JSON.parse(said).error.message; } catch { /* Somebody between us and the router said it. */ }
    throw new Error(message);
  }
  connected("live", false);
  await read(response);
  connected("stopped", true);
  return null;
}
function connected(state, isBad, detail = "") {
  connection = { word: state, isBad, detail };
  drawConnection();
}
async function watch() {
  for (;;) {
    let refusal = null;
    try {
      refusal = await watchOnce();
    } catch (error) {
      connected("lost", true, error instanceof TypeError ? "" : error.message);
    }
    if (refusal) {
      connected(refusal, true);
      await askKey(refusal);
    } else {
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}
