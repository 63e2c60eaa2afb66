// The stream of events, and calls of the API. The key stays in this tab.
let key = sessionStorage.getItem("key");
const headers = () => (key ? { authorization: `Bearer ${key}` } : {});
const call = (method, path, body) => fetch(path, { method, headers: { ...headers(), ...(body === undefined ? {} : { "content-type": "application/json" }) }, body: body === undefined ? undefined : JSON.stringify(body) });
let now = null;
const pauses = (ms) => new Promise((done) => setTimeout(done, ms));

function take(name, data) {
  if (name === "snapshot") { now = data; now.workers = new Map(data.workers.map((row) => [row.id, row])); forgetRows(); return; }
  if (!now || data.seq !== now.seq + 1) throw new Error("an event is missing");
  for (const part of ["router", "totals", "problems", "queue", "scale", "shadows", "models"]) if (data[part] !== undefined) now[part] = data[part];
  [now.seq, now.at] = [data.seq, data.at];
  for (const id of data.left ?? []) now.workers.delete(id);
  for (const change of data.workers ?? []) Object.assign(now.workers.get(change.id) ?? {}, change);
  for (const row of data.joined ?? []) now.workers.set(row.id, row);
  if (data.decisions) now.decisions = [...now.decisions, ...data.decisions].slice(-50);
}

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const lines = text.slice(0, end).split("\n");
      const of = (field) => lines.find((line) => line.startsWith(field))?.slice(field.length);
      take(of("event: "), JSON.parse(of("data: ")));
      draw();
    }
  }
}

async function watch() {
  for (;;) {
    try {
      setText($("connection"), now ? word("lost") : word("connecting"));
      const response = await fetch("/v1/live", { headers: headers(), cache: "no-store" });
      if (response.status === 401) { await askKey(); continue; }
      if (!response.ok) throw new Error((await response.json()).error.message);
      setText($("connection"), word("live"));
      await read(response);
      setText($("connection"), word("stopped"));
    } catch (error) { setText($("connection"), `${word("lost")} ${error.message}`); }
    await pauses(2000);
  }
}
