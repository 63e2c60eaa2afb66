// Parts of the page that are no charts: elements, sections, tables with their captions.
"use strict";

// An element with attributes and content; text is always set as text.
function el(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "mark") element.style.setProperty("--mark", `var(--c${value % 8})`);
    else element.setAttribute(name, value);
  }
  element.append(...content.filter((c) => c !== null && c !== undefined));
  return element;
}
const section = (title, about, ...content) =>
  el("section", {}, el("h2", {}, title), about ? el("p", { class: "about" }, about) : null, ...content);
const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const whole = (v) => Math.round(v).toLocaleString("en");
const swatch = (mark) => el("span", { class: "swatch", mark, "aria-hidden": "true" });

// A card with a table that scrolls on a narrow screen. `head`: texts or cells; `about` is the caption, if there is one.
function tableCard({ title, about, head, rows, foot, wide, kind, text }) {
  const cell = (content, at) => (content instanceof Element ? content
    : el("th", { scope: "col", class: text?.includes(at) ? "text" : "" }, content));
  const caption = about ? el("caption", {}, el("h3", {}, title), el("p", { class: "about" }, about)) : null;
  const classes = ["card", "scroll", wide ? "wide" : "", kind ?? ""].filter(Boolean).join(" ");
  return el("div", { class: classes, tabindex: "0", role: "region", "aria-label": title },
    el("table", {}, caption, el("thead", {}, el("tr", {}, ...head.map(cell))), el("tbody", {}, ...rows),
      foot ? el("tfoot", {}, foot) : null));
}
// A row of a table. A cell is a text or an element to put into it, or a finished cell.
const tableRow = (name, cells, attributes = {}) => el("tr", attributes, el("th", { scope: "row" }, name),
  ...cells.map((content) => (content instanceof HTMLTableCellElement ? content : el("td", {}, content))));
const textCell = (content) => el("td", { class: "text" }, content);

// A cell with a bar for a share, and the share.
function shareCell(share, mark) {
  const bar = el("i");
  bar.style.width = `${share * 100}%`;
  return el("td", {}, el("span", { class: "bar", mark, "aria-hidden": "true" }, bar), percent(share));
}

// The head of a column about one run or one policy, in its colour.
const runHead = (name, mark, ...label) => el("th", { scope: "col", title: name },
  el("span", { class: "run", mark }, el("i", { "aria-hidden": "true" }), ...label));
