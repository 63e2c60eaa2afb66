// Elements and numbers. Text from outside is always set as text.
const $ = (id) => document.getElementById(id);

/** An element. An attribute that is a function is a listener, `undefined` is none. */
function el(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}
function button(text, click, attributes = {}) {
  return el("button", { type: "button", click, ...attributes }, text);
}
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

/**
 * Makes the children of `host` one node for each item, in the order of the items. A node is made once for each key and then only
 * brought up to date, so that focus, selection and scrolling stay.
 */
function keyed(host, items, keyOf, make, update) {
  const known = (host.nodesByKey ??= new Map());
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, node] of known) {
    if (!wanted.has(key)) { node.remove(); known.delete(key); }
  }
  let at = 0;
  for (const [key, item] of wanted) {
    let node = known.get(key);
    if (!node) known.set(key, (node = make(item)));
    update(node, item);
    if (host.children[at] !== node) host.insertBefore(node, host.children[at] ?? null);
    at++;
  }
}
/** Forgets the nodes of [`keyed`], after a change of the language. */
function forget(host) {
  host.nodesByKey = undefined;
  host.replaceChildren();
}

const known = (value, form) => (value === null || value === undefined ? word("unknown") : form(value));
const number = (value) => known(value, (v) => (Math.abs(v) >= 10000 ? `${+(v / 1000).toPrecision(3)}k` : `${+v.toPrecision(3)}`));
const percent = (value) => known(value, (v) => `${+(100 * v).toPrecision(3)} %`);
const seconds = (value) => known(value, (v) => (v < 1 ? `${Math.round(1000 * v)} ms` : `${+v.toPrecision(3)} s`));
function span(secs) {
  const s = Math.max(0, Math.round(secs));
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}
const short = (name) => name.replace(/^https?:\/\//, "");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
