// The page: what belongs together of store, picture, pointer, classes, film strip and keys.

import { View } from "./canvas.js";
import { ClassList } from "./classes.js";
import { element, find, percent, swatch, toast } from "./dom.js";
import { Field } from "./field.js";
import { bindExport, showImport } from "./files.js";
import { FreeView } from "./free.js";
import { digitOf, fillHelp, isThirdLevel, keyName, keyOf, listen } from "./keys.js";
import { Pointer } from "./pointer.js";
import { Questions } from "./questions.js";
import { Regions } from "./regions.js";
import { Segments } from "./segment.js";
import { Store, VOID } from "./store.js";
import { Strip } from "./strip.js";

const TOOLS = { click: "Point", stroke: "Brush", polygon: "Polygon", region: "Region fill", segment: "Mask by a network" };
const TIPS = {
  click: "",
  stroke: "",
  polygon: "Click corners; Enter or the first corner closes",
  region: "Click or drag over regions",
  segment: "Click: see a mask; Enter or a click in it: accept; Esc: drop",
};
const MODES = { erase: "Eraser", void: "Do not know" };
const SIZE_STEPS = 100;
const [SIZE_LEAST, SIZE_MOST] = [0.5, 128];

const store = new Store();
const kept = JSON.parse(localStorage.getItem("sns-label view") ?? "{}");
const look = { opacity: kept.opacity ?? 0.65, highlight: "none", only: false, hidden: false, chosen: null };
const tool = { shape: "stroke", mode: "paint", radius: kept.radius ?? null, clickRadius: kept.clickRadius ?? null, report: toast, get chosen() { return look.chosen; } };
const view = new View(find("canvas"), store, look);
const pointer = new Pointer(view, store, tool);
const free = new FreeView(store, view, pointer);
pointer.free = free;
const segments = new Segments(store, view, pointer, toast);
pointer.segments = segments;
const field = new Field(store, view, free, toast);
view.field = field;
const classes = new ClassList(store, look, choose);
const strip = new Strip(store, goTo);
const questions = new Questions(store, view, look, goTo, toast);
const regions = new Regions(store, view, look, goTo, toast);
// One thing is asked for at a time, so that it is clear what a key answers.
questions.begin = () => regions.leave();
regions.begin = () => questions.leave();
const timings = []; // of marks, from the pointer's release to the labels on the screen, milliseconds
window.snsLabel = { store, questions, regions, field, segments, view, free, tool, look, pointer, timings, goTo };

// Frames

function goTo(frame) {
  const count = store.state.frames.length;
  store.shown = Math.min(count - 1, Math.max(0, frame));
  pointer.cancel();
  showFree(false);
  view.setRegions(null);
  find("frame-name").replaceChildren(
    element("b", { text: String(store.shown + 1) }), element("span", { text: ` / ${count}  ` }), document.createTextNode(` ${view.frame.name}`),
  );
  find("previous").disabled = store.shown === 0;
  find("next").disabled = store.shown === count - 1;
  view.fit();
  view.showPicture();
  view.colorLabels();
  classes.count(store.layers.get(store.shown)?.labels);
  store.refresh(store.shown);
  field.refresh();
  strip.show();
  loadRegions();
  if (tool.shape === "segment") segments.prepare(store.shown);
  describeCanvas();
  history.replaceState(null, "", `/#${store.shown + 1}`); // without the token
}

function showFree(isOn) {
  if (!isOn) free.leave();
  find("free").setAttribute("aria-pressed", String(isOn));
  find("tip").textContent = isOn ? "Right button or space: turn; wheel, W A S D: move; F: back to the frame" : TIPS[tool.shape];
}

async function toggleFree() {
  if (free.isOn) {
    goTo(store.shown);
    return;
  }
  pointer.cancel();
  view.setRegions(null);
  showFree(true);
  try {
    await free.enter();
    find("frame-name").replaceChildren(element("b", { text: "Free view" }));
  } catch (error) {
    toast(error.message);
    showFree(false);
  }
}

async function loadRegions() {
  if (tool.shape !== "region" || free.isOn) return;
  const frame = store.shown;
  find("tip").textContent = "Finding regions";
  try {
    const map = await store.regions(frame);
    if (frame === store.shown && tool.shape === "region") view.setRegions(map);
  } catch (error) {
    toast(error.message);
  }
  showTool();
}

// Classes and tools

function choose(id) {
  look.chosen = id;
  classes.reveal = true;
  if (tool.mode !== "paint") tool.mode = "paint";
  rememberClass();
  classes.show();
  showTool();
  if (look.only) view.colorLabels();
  if (segments.proposal) segments.show();
}

function rememberClass() {
  if (typeof look.chosen === "number") localStorage.setItem(`sns-label class ${store.identity}`, String(look.chosen));
}

function setTool(shape) {
  if (shape === "segment" && !segments.isOffered) return;
  pointer.cancel();
  if (shape === "segment") segments.prepare(store.shown);
  tool.shape = shape;
  tool.mode = "paint";
  if (shape !== "region") view.setRegions(null);
  else loadRegions();
  showTool();
}

function setMode(mode) {
  tool.mode = tool.mode === mode ? "paint" : mode;
  pointer.cancel();
  showTool();
}

function showTool() {
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool.shape));
  for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === tool.mode));
  const chosen = store.resolve(look.chosen);
  const chip = find("brush-class");
  if (tool.mode !== "paint") chip.replaceChildren(document.createTextNode(MODES[tool.mode]));
  else if (chosen) chip.replaceChildren(swatch(chosen.color), document.createTextNode(chosen.name));
  else chip.replaceChildren(document.createTextNode("No class chosen"));
  showFree(free.isOn);
  find("size-label").hidden = !pointer.hasRadius;
  showSize();
  describeCanvas();
}

function showSize() {
  const share = Math.log(pointer.radius / SIZE_LEAST) / Math.log(SIZE_MOST / SIZE_LEAST);
  find("size").value = String(Math.round(share * SIZE_STEPS));
  find("size-value").textContent = `${(2 * pointer.radius).toFixed(pointer.radius < 5 ? 1 : 0)} px`;
  pointer.updateCursor();
  view.request();
  keep();
}

function setRadius(radius) {
  pointer.radius = Math.min(SIZE_MOST, Math.max(SIZE_LEAST, radius));
  showSize();
}

function keep() {
  const { radius, clickRadius } = tool;
  localStorage.setItem("sns-label view", JSON.stringify({ opacity: look.opacity, radius, clickRadius }));
}

function describeCanvas() {
  const chosen = store.resolve(look.chosen)?.name ?? "no class";
  view.canvas.setAttribute("aria-label", `Frame ${view.frame.name}, ${TOOLS[tool.shape]}, ${tool.mode === "paint" ? chosen : MODES[tool.mode]}`);
}

// Look

function setOnly(only) {
  look.only = only;
  find("only").setAttribute("aria-checked", String(only));
  view.colorLabels();
}

function setHighlight(mode) {
  look.highlight = mode;
  for (const button of document.querySelectorAll("[data-highlight]")) button.setAttribute("aria-pressed", String(button.dataset.highlight === mode));
  view.colorLabels();
}

function setHidden(hidden) {
  if (look.hidden === hidden) return;
  look.hidden = hidden;
  view.request();
}

function underPointer() {
  const place = view.pointer;
  if (!place || !view.isInside(place)) return "";
  const label = view.labelAt(place);
  const name = label === VOID ? "Do not know" : label < 0 ? "No label" : store.resolve(label)?.name ?? "";
  return `${Math.floor(place.x)}, ${Math.floor(place.y)}  ${name}`;
}

function pick() {
  const found = view.pointer && store.resolve(view.labelAt(view.pointer));
  if (found) choose(found.id);
  else toast("Expected a label under the pointer to choose its class, found none.", "info");
}

// Who asks for what is lit, and else who asks first.
function asking() {
  return regions.current || !store.state.has_questions ? regions : questions;
}

// The label under the pointer becomes a mark of its own.
function confirm() {
  const found = view.pointer && store.resolve(view.labelAt(view.pointer));
  if (!found) {
    toast("Expected a label under the pointer to confirm, found none.", "info");
    return;
  }
  const { x, y } = view.pointer;
  const shape = { kind: "click", x: Math.round(x * 100) / 100, y: Math.round(y * 100) / 100, radius: tool.clickRadius };
  const body = { mark: { frame: store.shown, class_id: found.id, action: "paint", shape } };
  if (view.free) body.view = view.free.asked;
  store.act("/api/marks", body, performance.now());
}

// State

function showState() {
  const { progress, frames } = store.state;
  find("share").textContent = percent(progress.share_of_surface);
  find("share-bar").value = progress.share_of_surface ?? 0;
  const imported = store.state.import;
  if (imported) showImport(imported);
  find("accuracy").textContent = progress.num_marks || imported?.is_on ? percent(progress.expected_accuracy) : "–";
  find("marks").textContent = String(progress.num_marks);
  find("frames-marked").textContent = `${progress.num_frames_marked} of ${frames.length}`;
  find("minutes").textContent = progress.minutes < 60 ? `${Math.floor(progress.minutes)} min` : `${Math.floor(progress.minutes / 60)} h ${Math.floor(progress.minutes % 60)} min`;
  showClasses();
  strip.update();
  field.update();
}

function showClasses() {
  const text = JSON.stringify([store.state.classes, store.adding]);
  if (text === showClasses.text) return;
  showClasses.text = text;
  // One that was merged counts as what it was merged into, and one that has been numbered now by its number.
  const known = store.resolve(look.chosen) ?? (classes.isNewest(look.chosen) ? store.resolve(classes.before) : undefined);
  // In place of one that was deleted no other is chosen: the next stroke would be of it unnoticed.
  if (!known && typeof look.chosen === "number") {
    showClasses.isLost = true;
    toast("The class that was chosen has been deleted. Choose another one.");
  }
  if (known) showClasses.isLost = false;
  look.chosen = (known ?? (showClasses.isLost ? undefined : store.classes[0]))?.id ?? null;
  rememberClass();
  classes.show();
  showTool();
  view.colorLabels();
}

// What tabs did that are closed by now can be taken back, too, but not by mistake.
async function offerOthers(sentence) {
  let found = {};
  try {
    found = await store.get(`/api/others?client=${store.client}`);
  } catch { /* the sentence alone, then */ }
  const { revision, what } = found;
  if (!what) toast(sentence);
  else toast(`Nothing of this tab is left to undo. The last action of others is ${what}.`, "error", { offer: { text: "Take it back", does: () => store.act("/api/undo", { revision }, performance.now()) } });
}

function showConnection() {
  const waiting = store.queue.length;
  const marks = `${waiting} ${waiting === 1 ? "mark waits" : "marks wait"}`;
  const kind = store.problem ? "offline" : waiting ? "sending" : "saved";
  const [where, rest] = store.isOfAnother ? ["Another session", "reload to see it"] : ["Offline", "nothing is lost"];
  const offline = `${where}: ${waiting ? marks : rest}`;
  find("state").dataset.kind = kind;
  find("state-text").textContent = { offline, sending: waiting > 1 ? `Sending: ${marks}` : "Sending", saved: "Saved" }[kind];
  find("state").title = store.problem || "Every mark is on the disk before it counts as saved.";
  if (store.problem === showConnection.told) return;
  showConnection.told = store.problem;
  showConnection.lasting?.remove();
  if (store.problem && store.problem !== "The server does not answer.") {
    const offer = store.isOfAnother ? { text: "Reload", does: () => location.reload() } : null;
    const made = toast(store.problem, "error", { isLasting: store.isOfAnother, offer });
    showConnection.lasting = store.isOfAnother ? made : null; // it holds for as long as that is so
  }
}

store.addEventListener("state", () => { if (find("strip").children.length) showState(); });
store.addEventListener("connection", showConnection);
store.addEventListener("error", (event) => toast(event.detail));
store.addEventListener("lost", (event) => toast(event.detail, "error", { isLasting: true }));
store.addEventListener("undo-refused", (event) => offerOthers(event.detail));
store.addEventListener("notice", (event) => toast(event.detail, "info"));
store.addEventListener("pending", () => { if (find("strip").children.length) showClasses(); view.request(); });
store.addEventListener("segment", () => { find("tip").textContent = segments.isWaiting ? "Looking for what is there" : TIPS[tool.shape]; });
store.addEventListener("hover", () => { find("under").textContent = underPointer(); find("zoom").textContent = `${Math.round(100 * view.scale)} %`; });
store.addEventListener("layers", (event) => {
  view.colorLabels();
  classes.count(store.layers.get(store.shown)?.labels);
  store.emit("hover"); // what is under the pointer may be another class now
  const item = event.detail;
  const { revision, surface } = store.state;
  if (free.isOn && (item || free.revision !== revision || free.surface !== surface)) {
    Object.assign(free, { revision, surface });
    free.request(640);
  }
  if (item?.made) view.afterDraw(() => { timings.push(performance.now() - item.made); if (timings.length > 5000) timings.shift(); });
});

// What became of marks since the session was started with other photos, and of those that wait here.
function tellStranded() {
  for (const sentence of store.state.notices) toast(sentence, "info", { isLasting: true });
  for (const { sentence, discard } of store.stranded) toast(sentence, "info", { isLasting: true, offer: { text: "Discard", does: discard } });
}

// Buttons

function button(id, does, title) {
  const made = typeof id === "string" ? find(id) : id;
  made.title = title;
  if (!made.textContent.trim() || made.querySelector("b")) made.setAttribute("aria-label", title);
  made.addEventListener("click", does);
}

const actions = {
  ...Object.fromEntries(Object.keys(TOOLS).map((shape) => [shape, () => setTool(shape)])),
  erase: () => setMode("erase"),
  void: () => setMode("void"),
  smaller: () => setRadius(pointer.radius / 1.2),
  larger: () => setRadius(pointer.radius * 1.2),
  search: () => find("search").select(),
  pick,
  confirm,
  only: () => setOnly(!look.only),
  undo: () => { if (!pointer.removeCorner()) store.act("/api/undo", {}, performance.now()); },
  redo: () => store.act("/api/redo", {}, performance.now()),
  previous: () => goTo(store.shown - 1),
  next: () => goTo(store.shown + 1),
  unlabelled: () => {
    const frame = strip.nextUnlabelled();
    if (frame === null) toast("Every frame has marks; switch on Suggest frames and regions to see which need more.", "info");
    else goTo(frame);
  },
  hide: () => setHidden(true),
  "hide-end": () => setHidden(false),
  "zoom-in": () => zoom(() => view.zoom(1.25), 2),
  "zoom-out": () => zoom(() => view.zoom(0.8), -2),
  "zoom-fit": () => zoom(() => view.fit(), 0),
  free: toggleFree,
  yes: () => asking().answer(true),
  answer: () => asking().answer(false),
  painted: () => questions.answerPainted(),
  skip: () => questions.skip(),
  "skip-region": () => regions.skip(),
  pan: () => { pointer.isSpaceHeld = true; pointer.updateCursor(); view.request(); },
  "pan-end": () => { pointer.isSpaceHeld = false; pointer.updateCursor(); view.request(); },
  help: () => find("help-dialog").showModal(),
};

// Zoom by keys and buttons: the pointer stays where it is on the screen. The free view moves forward and back instead.
function zoom(change, forward) {
  if (free.isOn) {
    if (forward) free.move(0, 0, forward);
    return;
  }
  const at = view.pointer && !pointer.isByKeys ? view.toScreen(view.pointer.x, view.pointer.y) : null;
  change();
  if (at) pointer.hover(view.toImage(at.x, at.y));
}

function moveByKey(event) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const [dx, dy] = steps[event.key];
  const step = event.altKey ? 1 : Math.max(1, pointer.hasRadius ? pointer.radius : 8);
  const { x, y } = view.pointer ?? { x: view.frame.width / 2, y: view.frame.height / 2 };
  pointer.isByKeys = true;
  pointer.hover({ x: Math.min(view.frame.width, Math.max(0, x + dx * step)), y: Math.min(view.frame.height, Math.max(0, y + dy * step)) });
}

function useTool() {
  pointer.begin(view.pointer);
  if (pointer.stroke) pointer.endStroke();
  if (pointer.filled) pointer.endRegions();
}

const MOVES = {
  w: () => free.move(0, 0, 1),
  s: () => free.move(0, 0, -1),
  a: () => free.move(-1, 0, 0),
  d: () => free.move(1, 0, 0),
  ArrowUp: () => free.move(0, 0, 1),
  ArrowDown: () => free.move(0, 0, -1),
  ArrowLeft: () => free.turn(-30, 0),
  ArrowRight: () => free.turn(30, 0),
};

function extraKey(event) {
  if (event.shiftKey && event.key.startsWith("Arrow")) moveByKey(event);
  else if (free.isOn && MOVES[keyName(event)] && !event.ctrlKey && !event.metaKey && !event.altKey) MOVES[keyName(event)]();
  else if (event.key === "Escape") return pointer.cancel();
  else if (event.key === "Backspace") return pointer.removeCorner();
  else if (event.key === "Enter" && event.target === view.canvas) {
    if (segments.proposal) segments.accept();
    else if (pointer.corners && (event.shiftKey || !pointer.isByKeys)) pointer.closeByKey();
    else if (view.pointer) useTool();
  } else if (/^Digit[1-9]$/.test(event.code) && event.altKey && !event.ctrlKey && look.chosen !== null) {
    classes.assignKey(look.chosen, Number(event.code.slice(5)));
  } else if (digitOf(event) && !event.ctrlKey && !event.metaKey && !event.altKey && !isThirdLevel(event)) {
    const found = classes.byKey(digitOf(event));
    if (found !== undefined) choose(found);
  } else return false;
  return true;
}

function bindButtons() {
  for (const [shape, name] of Object.entries(TOOLS)) button(document.querySelector(`[data-tool=${shape}]`), actions[shape], `${name} (${keyOf(shape)})`);
  for (const [mode, name] of Object.entries(MODES)) button(document.querySelector(`[data-mode=${mode}]`), actions[mode], `${name} (${keyOf(mode)})`);
  button("pick", pick, `Class under the pointer: point at it and press ${keyOf("pick")}`);
  button("free", toggleFree, "Free view (F)");
  button("zoom-in", actions["zoom-in"], "Zoom in (+)");
  button("zoom-out", actions["zoom-out"], "Zoom out (-)");
  button("zoom-fit", actions["zoom-fit"], "Whole image (0)");
  button("undo", actions.undo, "Undo (Ctrl+Z)");
  button("redo", actions.redo, "Redo (Ctrl+Shift+Z)");
  button("previous", actions.previous, "Previous frame (←)");
  button("next", actions.next, "Next frame (→)");
  button("help", actions.help, "Keys (?)");
  button("answer-guess", () => questions.answer(true), "Answer with the class that is guessed; a whole frame: with all labels shown (Y)");
  button("answer-chosen", () => questions.answer(false), "Answer with the chosen class (U)");
  button("answer-painted", actions.painted, "Answer with what is painted in what is asked; the rest of it is void (T)");
  button("only", actions.only, "Only this class (O)");
  button("import", () => store.act("/api/import", { is_on: !store.state.import.is_on }), "Imported labels count, or not");
  button("suggest", () => {
    const isOn = find("suggest").getAttribute("aria-checked") !== "true";
    find("suggest").setAttribute("aria-checked", String(isOn));
    strip.suggest(isOn);
    regions.suggest(isOn);
  }, "Frames and regions that are most worth looking at");
  for (const one of document.querySelectorAll("[data-highlight]")) one.addEventListener("click", () => setHighlight(one.dataset.highlight));
  for (const one of document.querySelectorAll("[data-close]")) one.addEventListener("click", () => one.closest("dialog").close());
  find("size").addEventListener("input", (event) => setRadius(SIZE_LEAST * (SIZE_MOST / SIZE_LEAST) ** (event.target.value / SIZE_STEPS)));
  find("size-label").title = "Brush size ([ and ])";
  find("opacity").value = String(100 * look.opacity);
  find("opacity").addEventListener("input", (event) => { look.opacity = event.target.value / 100; view.request(); keep(); });
  bindExport(store, button);
  field.bind(button);
}

async function main() {
  bindButtons();
  fillHelp();
  listen(actions, extraKey);
  await store.start();
  document.title = `${store.state.scene} – labels`;
  find("scene").textContent = store.state.scene;
  const { width } = store.state.frames[0];
  tool.radius ??= Math.max(2, Math.round(width / 45));
  tool.clickRadius ??= Math.max(1, Math.round(width / 160));
  const remembered = localStorage.getItem(`sns-label class ${store.identity}`);
  const before = remembered === null ? null : store.resolve(Number(remembered));
  look.chosen = (before ?? store.classes[0])?.id ?? null;
  document.querySelector("[data-tool=segment]").hidden = !segments.isOffered;
  strip.build();
  goTo(Number(location.hash.slice(1)) - 1 || 0);
  showState();
  showTool();
  showConnection();
  questions.start();
  tellStranded();
  view.canvas.focus({ preventScroll: true });
  document.documentElement.dataset.ready = "true";
}

main();
