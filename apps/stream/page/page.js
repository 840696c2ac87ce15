"use strict";

const FIGURES_EVERY_MS = 300, TRACE_MS = 60000, QUIET_MS = 4000, AWAY_MS = 3000, STALE_S = 3;
const at = (id) => document.getElementById(id);
const made = (tag, name, text) => Object.assign(document.createElement(tag), { className: name, textContent: text || "" });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const round = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const time = (ms) => round(ms, ms >= 100 ? 0 : ms >= 10 ? 1 : 2);
const percent = (part) => `${Math.round(100 * part)} %`;

let told = null, traced = 0, heardAt = 0, spokenAt = 0, spokenLabel = "", spokenState = "";
let moving = false, unsent = false; // of the slider: what the board says of it is old meanwhile
const trace = [];

// The token came in the address and is a cookie by now: it need not stay in view.
if (location.search) history.replaceState(null, "", location.pathname);

async function post(path, body) {
  try {
    const reply = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await reply.json();
    if (reply.ok) show(answer); else speak(answer.error);
  } catch (error) { speak("No answer from the board."); }
}

function speak(text) {
  at("spoken").textContent = text;
  spokenAt = Date.now();
}

// The picture: the next is asked for when this one is drawn, so a slow network never falls behind.
async function pictures() {
  const canvas = at("picture"), pen = canvas.getContext("2d");
  let number = 0;
  for (;;) {
    if (document.hidden) { await pause(200); continue; }
    try {
      const reply = await fetch(`frame.jpg?after=${number}`);
      if (reply.status !== 200) { await pause(reply.ok ? 0 : 1000); continue; }
      number = Number(reply.headers.get("X-Frame"));
      const told = JSON.parse(reply.headers.get("X-Answer"));
      const address = URL.createObjectURL(await reply.blob()), image = new Image();
      image.src = address;
      await image.decode();
      if (canvas.width !== image.naturalWidth || canvas.height !== image.naturalHeight) {
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
      }
      pen.drawImage(image, 0, 0);
      answer(told);
      URL.revokeObjectURL(address);
    } catch (error) { await pause(1000); }
  }
}

async function figures() {
  for (;;) {
    try {
      const reply = await fetch("figures.json");
      const body = await reply.json();
      if (reply.ok) { heardAt = Date.now(); show(body); } else if (reply.status === 403) notice("away", "Not let in", body.error); else throw new Error(body.error);
    } catch (error) {
      if (Date.now() - heardAt > AWAY_MS) notice("away", "No answer from the board", "The program has ended or the network is down. Trying again.");
    }
    await pause(FIGURES_EVERY_MS);
  }
}

function show(body) {
  told = body;
  document.title = body.label ? `${body.label} · ${body.title}` : body.title;
  at("title").textContent = body.title;
  at("source").textContent = at("source").title = body.source;
  state(body);
  decision(body);
  engines(body);
  speed(body);
  for (const name of ["frames", "dropped", "torn"]) at(name).textContent = body[name] === undefined ? "–" : body[name].toLocaleString("en").replaceAll(",", " ");
  for (const [name, digits] of [["celsius", 0], ["watts", 1]]) {
    at(`${name}-row`).hidden = body[name] === null;
    at(name).textContent = round(body[name], digits);
  }
  const records = body.recording_s !== null;
  at("record").setAttribute("aria-pressed", records);
  at("record-text").textContent = records ? `Stop and save, ${Math.floor(body.recording_s)} s` : "Record";
}

function state(body) {
  const name = (body.engines.find((engine) => engine.role === body.opening) || {}).name;
  if (body.opening) notice("opening", `Opening ${name}`, body.told ? `${body.told}. The picture stands still meanwhile.` : "");
  else if (body.lost) notice("lost", "The camera is gone", `${body.lost}. Trying again every 2 seconds.`);
  else if (body.age_s === null) notice("waiting", "Waiting for the first frame", "");
  else if (body.age_s > STALE_S) notice("lost", "No frames", `The last came ${Math.round(body.age_s)} s ago.`);
  else notice("running", "", "");
}

function notice(kind, head, text) {
  document.body.dataset.state = kind;
  at("state-text").textContent = { running: "live", opening: "opening", lost: "no camera", away: "no answer" }[kind] || "waiting";
  at("notice").hidden = !head;
  at("notice-head").textContent = head;
  at("notice-text").textContent = text.charAt(0).toUpperCase() + text.slice(1);
  if (head !== spokenState) speak(head ? `${head}. ${text}` : "The stream runs.");
  spokenState = head;
}

function decision(body) {
  const watched = at("watched"), slider = at("threshold");
  if (watched.options.length !== body.classes.length) watched.replaceChildren(...body.classes.map((label, index) => new Option(label, index)));
  if (!moving && document.activeElement !== watched) watched.value = body.watched;
  if (!moving) slider.value = Math.round(100 * body.threshold);
  const named = body.classes[body.watched] || "", two = body.classes.length === 2;
  at("threshold-text").textContent = percent(slider.value / 100);
  slider.setAttribute("aria-valuetext", `${named} from ${percent(slider.value / 100)}`);
  at("threshold-hint").dataset.beside = two ? "" : " beside its strongest rival";
}

// The answer comes with its picture, so that the two never disagree.
function answer(body) {
  const slider = at("threshold"), hint = at("threshold-hint");
  at("label").textContent = body.label;
  at("label").classList.toggle("alarm", body.watched);
  at("confidence").textContent = percent(body.confidence);
  // The bar is what the engine says now, the handle where the answer turns.
  const score = body.beside_rival;
  slider.style.setProperty("--fill", score === null ? "var(--rule)"
    : `linear-gradient(to right, var(--accent) calc(3px + (100% - 6px) * ${score}), var(--rule) 0)`);
  hint.textContent = score === null ? `of a pixel's probability; now ${percent(body.share)} of the picture` : `now ${percent(score)}${hint.dataset.beside || ""}`;
  at("told").replaceChildren(...Object.entries(body.facts).map(([name, value]) => {
    const fact = made("div");
    fact.append(made("dt", "", name), made("dd", "", String(value)));
    return fact;
  }));
  if (body.label !== spokenLabel && Date.now() - spokenAt > QUIET_MS) {
    spokenLabel = body.label;
    speak(`${body.label}, ${percent(body.confidence)}`);
  }
}

function engines(body) {
  const list = at("engines");
  if (list.children.length !== body.engines.length) {
    list.replaceChildren(...body.engines.map(row));
    at("last-key").textContent = body.engines.length;
  }
  const slowest = Math.max(...body.engines.map((engine) => engine.p50_ms || 0));
  body.engines.forEach((engine, index) => {
    const part = (name) => list.children[index].querySelector(name), opening = body.opening === engine.role;
    part("input").checked = body.asked === engine.role;
    const timed = part(".time");
    timed.classList.toggle("none", engine.p50_ms === null || engine.p50_ms === undefined);
    if (timed.classList.contains("none")) timed.textContent = opening ? "opening" : engine.fault ? "does not open" : engine.mib === null ? "not tried yet" : "";
    else timed.replaceChildren(time(engine.p50_ms), " ", made("span", "unit", "ms"));
    part(".size").textContent = engine.mib === null ? "" : `${round(engine.mib, 2)} MiB`;
    part(".fault").textContent = engine.fault;
    part(".bar").hidden = !engine.p50_ms;
    part(".bar i").style.width = `${100 * engine.p50_ms / slowest}%`;
    if (engine.role === body.engine) at("device").textContent = at("device").title = engine.device || "";
  });
}

function row(engine, index) {
  const label = made("label", `engine role-${engine.role}`), input = made("input"), name = made("span", "name", engine.name), bar = made("span", "bar");
  Object.assign(input, { type: "radio", name: "engine", value: engine.role });
  input.setAttribute("aria-keyshortcuts", index + 1);
  input.addEventListener("change", () => choose(engine.role));
  name.append(made("kbd", "", String(index + 1)));
  bar.append(made("i"));
  label.append(input, name, made("span", "time"), made("span", "size"), bar, made("span", "fault"));
  return label;
}

async function choose(role) {
  const before = told.engine;
  await post("engine", { role });
  for (let tries = 0; tries < 2000 && (told.opening || told.asked !== told.engine); tries += 1) await pause(100);
  const now = told.engines.find((engine) => engine.role === told.engine), wished = told.engines.find((engine) => engine.role === role);
  if (told.engine === role && before !== role) speak(`${now.name} answers now.`);
  else if (wished.fault) speak(`${wished.name} does not open: ${wished.fault}. ${now.name} goes on.`);
}

function speed(body) {
  if (body.p50_ms === undefined) return;
  at("fps").textContent = body.fps ? round(body.fps, body.fps >= 100 ? 0 : 1) : "–";
  at("p50").textContent = time(body.p50_ms);
  at("p99").textContent = time(body.p99_ms);
  const stages = Object.entries(body.stages_ms).filter(([name, ms], index) => index < 6 || ms >= 0.005);
  if (at("stages").children.length !== stages.length) {
    at("stages").replaceChildren(...stages.map((_, index) => made("i", `stage-${index}`)));
    at("stage-list").replaceChildren(...stages.map(([name], index) => {
      const entry = made("div", `stage-${index}`);
      entry.append(made("dt", "", name), made("dd"));
      return entry;
    }));
  }
  stages.forEach(([, ms], index) => {
    at("stages").children[index].style.flexGrow = ms;
    at("stage-list").children[index].lastChild.textContent = `${round(ms, 2)} ms`;
  });
  const now = Date.now();
  if (body.frames !== traced) trace.push([now, body.recent_ms, body.engine]);
  traced = body.frames;
  while (trace.length && now - trace[0][0] > TRACE_MS) trace.shift();
  draw(now);
}

function draw(now) {
  const most = Math.max(0.01, ...trace.map((point) => point[1])), ten = 10 ** Math.floor(Math.log10(most));
  const top = ten * [1, 2, 4, 6, 8, 10].find((step) => step * ten >= most), svg = "http://www.w3.org/2000/svg", paths = [];
  let last = null;
  for (const [when, ms, role] of trace) {
    const place = `${(300 - 300 * (now - when) / TRACE_MS).toFixed(1)} ${(72 - 72 * ms / top).toFixed(1)}`;
    if (!last || last.role !== role) paths.push(last = { role, path: `M${place}` }); else last.path += `L${place}`;
  }
  const middle = document.createElementNS(svg, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 300, y1: 36, y2: 36 })) middle.setAttribute(name, value);
  at("trace").replaceChildren(middle, ...paths.map(({ role, path }) => {
    const line = document.createElementNS(svg, "path");
    line.setAttribute("d", path);
    line.setAttribute("class", `role-${role}`);
    return line;
  }));
  at("trace-top").textContent = `${+top.toPrecision(2)} ms`;
  at("trace-middle").textContent = `${+(top / 2).toPrecision(2)}`;
}

async function record() {
  const ends = told && told.recording_s !== null;
  await post("recording", { on: !ends });
  if (ends) Object.assign(document.createElement("a"), { href: "recorded", download: "" }).click();
}

// One at a time and the last one last: requests may overtake each other.
async function threshold() {
  unsent = true;
  if (moving) return;
  moving = true;
  while (unsent) {
    unsent = false;
    await post("threshold", { watched: Number(at("watched").value), threshold: at("threshold").value / 100 });
  }
  moving = false;
}

at("watched").addEventListener("change", threshold);
at("threshold").addEventListener("input", threshold);
at("record").addEventListener("click", record);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT" || !told) return;
  const key = event.key.toLowerCase(), engine = told.engines[Number(key) - 1];
  if (engine) choose(engine.role);
  else if (key === "s") at("snapshot").click();
  else if (key === "l") at("last").click();
  else if (key === "r") record();
  else if (key === "f" && told.label) speak(`${told.label}, ${percent(told.confidence)}. ${round(told.fps, 0)} frames a second, median ${time(told.p50_ms)} milliseconds, 99 of 100 within ${time(told.p99_ms)}.`);
  else return;
  event.preventDefault();
});

pictures();
figures();
