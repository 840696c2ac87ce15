"use strict";

// The picture of a tradeoff: laid out for the width there is, what is ticked, and where one looks.
function tradeoff(figure) {
  const svg = figure.querySelector(".canvas svg");
  const parts = Object.fromEntries(["axes", "joins", "front", "marks", "labels"].map((name) => [name, svg.querySelector(`.${name}`)]));
  const marks = Array.from(parts.marks.children).map((node) => ({
    node, index: Number(node.dataset.index), x: Number(node.dataset.rate), y: Number(node.dataset.share),
    low: Number(node.dataset.low), high: Number(node.dataset.high), shown: true,
  }));
  const byIndex = new Map(marks.map((mark) => [mark.index, mark]));
  const rows = new Map(Array.from(document.querySelectorAll("table.all tbody tr")).map((row) => [Number(row.dataset.index), row]));
  const tips = Array.from(figure.querySelectorAll(".point-tip"));
  const hint = figure.querySelector(".hint");
  const boxes = Array.from(figure.querySelectorAll(".filters input[type=checkbox]"));
  const state = { log: false, view: null, here: null };
  let frame, x, y;

  const axis = (low, high, start, end, log) => {
    const way = log ? Math.log10 : (value) => value;
    const [a, b] = [way(low), way(high)];
    return {
      low, high, log,
      at: (value) => start + (way(value) - a) / (b - a) * (end - start),
      of: (place) => { const value = a + (place - start) / (end - start) * (b - a); return log ? 10 ** value : value; },
    };
  };
  const step = (span, most) => {
    const power = 10 ** Math.floor(Math.log10(span / most));
    return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= span / most * (1 - 1e-9));
  };
  function ticks(scale, most) {
    if (scale.log && scale.high / scale.low > 3) {
      const first = Math.floor(Math.log10(scale.low)), last = Math.ceil(Math.log10(scale.high));
      const decades = Array.from({ length: last - first + 1 }, (_, index) => first + index);
      for (const factors of [[1, 2, 5], [1, 3], [1]]) {
        const inside = decades.flatMap((decade) => factors.map((factor) => factor * 10 ** decade))
          .filter((value) => value >= scale.low && value <= scale.high);
        if (inside.length <= most + 1 || factors.length === 1) return inside;
      }
    }
    const size = step(scale.high - scale.low, most);
    const from = Math.ceil(scale.low / size - 1e-9), to = Math.floor(scale.high / size + 1e-9);
    return Array.from({ length: to - from + 1 }, (_, index) => (from + index) * size);
  }

  // None on it is beaten in one and at least equalled in the other; slowest first.
  function front(among) {
    const order = among.slice().sort((one, two) => two.x - one.x || two.y - one.y);
    const found = [];
    for (const mark of order) {
      const best = found[found.length - 1];
      if (!best || mark.y > best.y || (mark.x === best.x && mark.y === best.y)) found.push(mark);
    }
    return found.reverse();
  }

  function bounds(among) {
    const xs = among.flatMap((mark) => [mark.low, mark.x, mark.high]), ys = among.map((mark) => mark.y);
    const spanX = Math.max(...xs) - Math.min(...xs), spanY = Math.max(...ys) - Math.min(...ys);
    const padX = spanX * .08 || Math.max(...xs) * .05, padY = Math.max(spanY * .12, .15);
    return { x: [Math.min(...xs) - padX, Math.max(...xs) + padX], y: [Math.min(...ys) - padY, Math.min(100.5, Math.max(...ys) + padY)] };
  }

  function scales() {
    const wide = Math.max(300, Math.round(svg.parentNode.clientWidth)) || 860;
    const high = Math.round(Math.min(460, Math.max(300, wide * .5)));
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    frame = { left: 58, top: 14, right: wide - 16, bottom: high - 50, wide, high };
    const among = marks.filter((mark) => mark.shown);
    const all = bounds(among.length ? among : marks);
    const view = state.view || { x: state.log ? all.x : [0, all.x[1]], y: all.y };
    let [low, top] = view.x;
    if (state.log) low = Math.max(low, Math.min(...marks.map((mark) => mark.low)) / 1.3);
    x = axis(low, top, frame.left, frame.right, state.log);
    y = axis(view.y[0], view.y[1], frame.bottom, frame.top, false);
  }

  function make(tag, attributes, text) {
    const node = document.createElementNS(svg.namespaceURI, tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const write = (left, top, text, style, anchor = "middle", more = {}) =>
    make("text", { x: left.toFixed(1), y: top.toFixed(1), class: style, "text-anchor": anchor, ...more }, text);

  function drawAxes() {
    const nodes = [];
    const places = (values) => Math.min(6, Math.max(0, ...values.slice(1).map((value, index) => Math.ceil(-Math.log10(value - values[index]) - 1e-9))));
    const rows = ticks(y, 8), columns = ticks(x, Math.max(3, Math.floor(frame.wide / 130)));
    for (const tick of rows) {
      nodes.push(make("line", { x1: frame.left, x2: frame.right, y1: y.at(tick), y2: y.at(tick), class: "grid" }));
      nodes.push(write(frame.left - 8, y.at(tick) + 4, tick.toFixed(places(rows)), "tick", "end"));
    }
    for (const tick of columns) {
      nodes.push(make("line", { x1: x.at(tick), x2: x.at(tick), y1: frame.bottom, y2: frame.bottom + 5, class: "axis" }));
      nodes.push(write(x.at(tick), frame.bottom + 19, tick.toLocaleString("en", { maximumFractionDigits: 3 }), "tick"));
    }
    nodes.push(make("line", { x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom, class: "axis" }));
    nodes.push(write((frame.left + frame.right) / 2, frame.bottom + 42, svg.dataset.x + (state.log ? ", logarithmic" : ""), "title"));
    const middle = (frame.top + frame.bottom) / 2;
    nodes.push(write(13, middle, svg.dataset.y, "title", "middle", { transform: `rotate(-90 13 ${middle})` }));
    parts.axes.replaceChildren(...nodes);
  }

  // Names beside the front, each where it meets no mark and no other name, or left out.
  function drawLabels(best, seen) {
    const taken = seen.map((mark) => { const [a, b] = [x.at(mark.x), y.at(mark.y)]; return [a - 7, b - 7, a + 7, b + 7]; });
    parts.labels.replaceChildren();
    for (const mark of best.slice().reverse()) {
      const node = write(0, 0, mark.node.dataset.label, "name", "start");
      parts.labels.append(node);
      const wide = node.getComputedTextLength(), [a, b] = [x.at(mark.x), y.at(mark.y)];
      const spots = [[a + 11, b - 7], [a - 11 - wide, b - 7], [a - wide / 2, b - 25], [a - wide / 2, b + 11], [a + 6, b - 23], [a - 6 - wide, b + 10]];
      const clear = spots.find(([left, top]) => left > frame.left && left + wide < frame.right && top > frame.top - 8 && top + 14 < frame.bottom &&
        !taken.some((box) => left < box[2] && left + wide > box[0] && top < box[3] && top + 14 > box[1]));
      if (!clear) { node.remove(); continue; }
      taken.push([clear[0] - 3, clear[1], clear[0] + wide + 3, clear[1] + 14]);
      node.setAttribute("x", clear[0].toFixed(1));
      node.setAttribute("y", (clear[1] + 11).toFixed(1));
    }
  }

  // Up to each rate the accuracy that can be had with it, as far as it lies in the picture.
  function steps(best) {
    const [across, down] = [x, y].map((one) => (value) => one.at(Math.min(one.high, Math.max(one.low, value))).toFixed(1));
    let before = x.low, above = y.high, path = "";
    for (const mark of best) {
      if (before > x.low && before <= x.high) path += `M${across(before)},${down(above)}V${down(mark.y)}`;
      if (mark.y >= y.low && mark.y <= y.high && before <= x.high) path += `M${across(before)},${down(mark.y)}H${across(mark.x)}`;
      [before, above] = [Math.max(x.low, mark.x), mark.y];
    }
    return path;
  }

  function draw() {
    const off = new Map();
    boxes.filter((box) => !box.checked).forEach((box) => off.set(box.name, (off.get(box.name) || new Set()).add(box.value)));
    for (const mark of marks) {
      mark.shown = !Array.from(off).some(([name, values]) => values.has(mark.node.getAttribute(`data-${name.replace("_", "-")}`)));
      const row = rows.get(mark.index);
      if (row) row.hidden = !mark.shown;
    }
    scales();
    drawAxes();
    const among = marks.filter((mark) => mark.shown), best = front(among);
    const inside = (mark) => mark.x >= x.low && mark.x <= x.high && mark.y >= y.low && mark.y <= y.high;
    for (const mark of marks) {
      const seen = mark.shown && inside(mark);
      mark.node.toggleAttribute("hidden", !seen);
      mark.seen = seen;
      if (!seen) continue;
      const place = x.at(mark.x), spread = mark.node.querySelector(".spread");
      mark.node.setAttribute("transform", `translate(${place.toFixed(1)} ${y.at(mark.y).toFixed(1)})`);
      spread.setAttribute("x1", (x.at(Math.max(mark.low, x.low)) - place).toFixed(1));
      spread.setAttribute("x2", (x.at(Math.min(mark.high, x.high)) - place).toFixed(1));
    }
    parts.front.setAttribute("d", steps(best));
    for (const line of parts.joins.children) {
      const [one, two] = [line.dataset.from, line.dataset.to].map((index) => byIndex.get(Number(index)));
      line.toggleAttribute("hidden", !(one.seen && two.seen));
      [["x1", x.at(one.x)], ["y1", y.at(one.y)], ["x2", x.at(two.x)], ["y2", y.at(two.y)]].forEach(([name, value]) => line.setAttribute(name, value));
    }
    const seen = marks.filter((mark) => mark.seen);
    drawLabels(best.filter(inside), seen);
    figure.querySelector(".shown").textContent = `${seen.length} of ${marks.length} points in the picture`;
    const here = seen.includes(state.here) ? state.here : seen[0];
    marks.forEach((mark) => { mark.node.tabIndex = mark === here ? 0 : -1; });
    state.best = best;
  }

  function tell(mark) {
    const shown = mark || state.here;
    hint.hidden = Boolean(shown);
    tips.forEach((tip) => { tip.hidden = !shown || Number(tip.dataset.index) !== shown.index; });
    marks.forEach((other) => other.node.classList.toggle("here", other === shown));
    rows.forEach((row, index) => row.classList.toggle("marked", Boolean(shown) && index === shown.index));
  }

  function opened(id) {
    const found = document.getElementById(id);
    if (!(found instanceof HTMLDetailsElement)) return;
    document.querySelectorAll("details[id^=plan-]").forEach((other) => { other.open = other === found; });
    found.scrollIntoView({ block: "start" });
    found.querySelector("summary").focus();
  }

  marks.forEach((mark) => {
    mark.node.addEventListener("mouseenter", () => tell(mark));
    mark.node.addEventListener("mouseleave", () => tell(null));
    mark.node.addEventListener("focus", () => {
      state.here = mark;
      marks.forEach((other) => { other.node.tabIndex = other === mark ? 0 : -1; });
      tell(mark);
    });
    // A finger does not hover: its first touch tells, its second opens.
    mark.node.addEventListener("pointerdown", () => { state.told = state.here === mark; });
    mark.node.addEventListener("click", (event) => {
      if (!state.dragged && (event.pointerType !== "touch" || state.told)) opened(mark.node.dataset.opens);
    });
  });
  // A mark that lies under another is found from its row.
  rows.forEach((row, index) => {
    row.addEventListener("mouseenter", () => { tell(byIndex.get(index)); });
    row.addEventListener("mouseleave", () => tell(null));
  });
  document.querySelectorAll("table.points a[href^='#plan-']").forEach((link) => {
    link.addEventListener("click", (event) => { event.preventDefault(); opened(link.hash.slice(1)); });
  });
  svg.addEventListener("keydown", (event) => {
    const seen = marks.filter((mark) => mark.seen), at = seen.indexOf(state.here);
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
    if (event.key in steps && seen.length) {
      event.preventDefault();
      seen[Math.max(0, Math.min(seen.length - 1, at + steps[event.key]))].node.focus();
    } else if ((event.key === "Enter" || event.key === " ") && at >= 0) {
      event.preventDefault();
      opened(state.here.node.dataset.opens);
    }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && state.view) { state.view = null; draw(); } });

  figure.querySelectorAll("form").forEach((form) => form.addEventListener("submit", (event) => event.preventDefault()));
  boxes.forEach((box) => box.addEventListener("change", draw));
  figure.querySelectorAll("input[name=scale]").forEach((radio) => radio.addEventListener("change", () => {
    state.log = radio.value === "log";
    state.view = null;
    draw();
  }));
  figure.querySelectorAll("button[data-view]").forEach((button) => button.addEventListener("click", () => {
    if (button.dataset.view === "all") state.view = null;
    if (button.dataset.view === "front" && state.best.length) state.view = bounds(state.best);
    if (button.dataset.view === "closer") {
      const centre = state.here && state.here.seen ? [x.at(state.here.x), y.at(state.here.y)] : [(frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2];
      const [a, b] = [(frame.right - frame.left) / 4, (frame.bottom - frame.top) / 4];
      look(centre[0] - a, centre[1] - b, centre[0] + a, centre[1] + b);
    }
    draw();
  }));
  const look = (left, top, right, bottom) => { state.view = { x: [x.of(left), x.of(right)], y: [y.of(bottom), y.of(top)] }; };

  // Dragging across the picture looks closer at what it covers.
  let from = null, lens = null;
  const place = (event) => {
    const box = svg.getBoundingClientRect();
    return [(event.clientX - box.left) * frame.wide / box.width, (event.clientY - box.top) * frame.high / box.height];
  };
  svg.addEventListener("pointerdown", (event) => { state.dragged = false; if (event.button === 0 && event.pointerType !== "touch") from = place(event); });
  window.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event), [left, right] = [from[0], to[0]].sort((a, b) => a - b), [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
    if (!lens && Math.hypot(to[0] - from[0], to[1] - from[1]) < 6) return;
    if (!lens) svg.append(lens = make("rect", { class: "lens" }));
    Object.entries({ x: left, y: top, width: right - left, height: bottom - top }).forEach(([name, value]) => lens.setAttribute(name, value));
  });
  window.addEventListener("pointerup", (event) => {
    if (lens) {
      const to = place(event), [left, right] = [from[0], to[0]].sort((a, b) => a - b), [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
      lens.remove();
      lens = null;
      state.dragged = true;
      if (right - left > 10 && bottom - top > 10) { look(left, top, right, bottom); draw(); }
    }
    from = null;
  });

  new ResizeObserver(() => { if (Math.round(svg.parentNode.clientWidth) !== frame.wide) draw(); }).observe(svg.parentNode);
  draw();
}

document.querySelectorAll("figure.tradeoff").forEach(tradeoff);
