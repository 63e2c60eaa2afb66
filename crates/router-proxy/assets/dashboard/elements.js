// Elements and numbers. Text from outside is always set as text.
const $ = (id) => document.getElementById(id);
function el(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}
function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
const known = (value, form) => (value === null || value === undefined ? word("unknown") : form(value));
const number = (value) => known(value, (v) => (Math.abs(v) >= 1000 ? `${(v / 1000).toPrecision(3)}k` : `${+v.toPrecision(3)}`));
const percent = (value) => known(value, (v) => `${+(100 * v).toPrecision(3)} %`);
const seconds = (value) => known(value, (v) => (v < 1 ? `${Math.round(1000 * v)} ms` : `${+v.toPrecision(3)} s`));
function span(secs) {
  const s = Math.max(0, Math.round(secs));
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}
const short = (name) => name.replace(/^https?:\/\//, "");
