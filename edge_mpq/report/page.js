"use strict";

// Sorting: each heading with data-sort becomes a button; rows without a value stay last.
function sortable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = Array.from(body.rows);
      rows.sort((one, two) => compared(one.cells[column], two.cells[column], head.dataset.sort, descending ? -1 : 1));
      body.append(...rows);
    });
  });
}

function compared(one, two, kind, sign) {
  if (kind === "text") return sign * one.textContent.localeCompare(two.textContent, "en", { numeric: true });
  const [a, b] = [one, two].map((cell) => (cell.hasAttribute("data-value") ? Number(cell.dataset.value) : null));
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (a - b);
}

// A strip is one stop of the Tab key; the arrow keys move inside it.
function strip(list) {
  const segments = Array.from(list.children);
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  segments.forEach((segment, index) => {
    segment.tabIndex = index === 0 ? 0 : -1;
    const row = document.getElementById(segment.dataset.row);
    const mark = (on) => row && row.classList.toggle("marked", on);
    ["mouseenter", "focus"].forEach((event) => segment.addEventListener(event, () => mark(true)));
    ["mouseleave", "blur"].forEach((event) => segment.addEventListener(event, () => mark(false)));
    segment.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = segments[Math.max(0, Math.min(segments.length - 1, index + steps[event.key]))];
      segments.forEach((other) => { other.tabIndex = -1; });
      next.tabIndex = 0;
      next.focus();
    });
  });
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("ol.strip").forEach(strip);
