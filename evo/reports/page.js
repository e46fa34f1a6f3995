"use strict";
// Headings sort their tables and buttons copy commands; without scripts the page shows the same content.
const order = new Intl.Collator(undefined, { numeric: true });

function value(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = Number(text.replace(/[,%]|…$/g, ""));
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function compare(first, second) {
  if (typeof first === "number" && typeof second === "number") return first - second;
  return order.compare(String(first), String(second));
}

function sort(table, heading) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, row => [value(row, heading.cellIndex), row]);
  // Empty cells come last in both directions.
  rows.sort(([a], [b]) => (a === null) - (b === null) || (descending ? compare(b, a) : compare(a, b)));
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, heading));
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
  }
}

for (const line of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + line.dataset.name);
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", () => copy(line.querySelector("code"), button));
  line.append(button);
}
