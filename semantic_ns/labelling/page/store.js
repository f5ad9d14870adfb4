// What the page knows of the session, and the queue of actions on their way to the server.
//
// An action is kept in localStorage from the moment it is made until the server has answered. The server counts the
// same (client, sequence) once, so that an action may be sent any number of times: after a lost connection, by the
// page after it was loaded again, or by another tab that finds what a closed one has left behind.

const RETRY_MS = [300, 1000, 2000, 4000];
const PATIENCE_MS = 60_000;
const NUM_LAYERS = 24; // label layers that are kept; a large frame has some megabytes
const NUM_REGION_MAPS = 8;

const ADDED = /^added by ([0-9]+)$/;

export const NOTHING = -1;
export const VOID = -2;

class Refused extends Error {}
class Unreachable extends Error {}
class OfAnother extends Unreachable {} // another session has taken the place of that of this page

export class Store extends EventTarget {
  constructor() {
    super();
    this.state = null;
    this.shown = 0;
    this.queue = [];
    this.unplaced = []; // marks that wait, on photos that the session does not have now
    this.inFlight = null;
    this.takenBack = []; // what was undone, the last one at the end: a mark that was never sent, or null for what the server took back
    this.added = new Map(); // ids of classes by what stood for them until the server had numbered them
    this.layers = new Map(); // frame -> {revision, labels, confidence}
    this.problem = ""; // why the server does not answer; empty while it does
    this.isOfAnother = false; // whether another session answers
    this.refreshing = new Map();
    this.regionMaps = new Map();
    this.wake = () => {};
    addEventListener("online", () => this.wake());
  }

  emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  async start() {
    for (let turn = 0; this.state === null; turn++) {
      try {
        this.state = await this.get("/api/state");
      } catch (error) {
        this.fail(error);
        await this.rest(turn);
      }
    }
    this.client = clientName();
    this.readQueue();
    this.recover();
    this.emit("state");
    this.pump();
    this.listen();
  }

  // Requests

  async get(path, signal) {
    return (await this.ask(path, undefined, signal)).json();
  }

  async ask(path, body, signal = AbortSignal.timeout(PATIENCE_MS)) {
    let answer;
    const headers = this.state ? { "X-Session-Key": this.state.key } : {};
    const options = { credentials: "same-origin", signal, headers };
    if (body) Object.assign(options, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) });
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Unreachable("The server does not answer.");
    }
    if (answer.ok) return answer;
    let sentence = `The server answered ${answer.status}.`;
    try {
      sentence = (await answer.json()).error ?? sentence;
    } catch { /* an answer of something in between */ }
    if (answer.status === 412) throw new OfAnother(sentence);
    // Only what is wrong with the request itself is given up; all else is tried again.
    const isFinal = answer.status >= 400 && answer.status < 500 && ![401, 403, 408, 429].includes(answer.status);
    throw isFinal ? new Refused(sentence) : new Unreachable(sentence);
  }

  // An answer that is cut off, or that cannot be read, is as good as none.
  fail(error) {
    const sentence = error instanceof Unreachable || error instanceof Refused ? error.message : "The server's answer was cut off.";
    if (this.problem === sentence) return;
    this.problem = sentence;
    this.isOfAnother = error instanceof OfAnother;
    this.emit("connection");
  }

  recover() {
    if (!this.problem) return;
    this.problem = "";
    this.isOfAnother = false;
    this.emit("connection");
    this.wake();
  }

  rest(turn) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, RETRY_MS[Math.min(turn, RETRY_MS.length - 1)]);
      this.wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  // The queue

  // Of the key of a session, what stays when its photos are others.
  get identity() {
    return this.state.key.split("-")[0];
  }

  get place() {
    return `sns-label ${this.identity} `;
  }

  readQueue() {
    for (const name of Object.keys(localStorage).filter((one) => one.startsWith(this.place)).sort()) {
      try {
        for (const item of JSON.parse(localStorage.getItem(name)).items) this.put(item);
      } catch { /* not ours */ }
      localStorage.removeItem(name);
    }
    this.saveQueue();
  }

  // Frames may have other numbers now than when a mark was drawn: it belongs to its photo.
  put(item) {
    item.hasWaited = true;
    const { mark } = item.body;
    const frame = mark ? this.state.frames.findIndex(({ id }) => id === item.photo.id) : 0;
    // What was done after such a mark may take it back, and nothing else.
    const isBehind = ["/api/undo", "/api/redo"].includes(item.path) && this.unplaced.some(({ client }) => client === item.client);
    if (frame < 0 || isBehind) this.unplaced.push(item);
    else this.queue.push(mark ? { ...item, body: { ...item.body, mark: { ...mark, frame } } } : item);
  }

  saveQueue() {
    const name = this.place + this.client;
    const items = [...this.queue, ...this.unplaced].map(({ made, ...kept }) => kept);
    try {
      if (items.length) localStorage.setItem(name, JSON.stringify({ scene: this.state.scene, items }));
      else localStorage.removeItem(name);
    } catch {
      this.emit("error", "The browser has no room to keep unsent marks; leave this page open until they are saved.");
    }
    this.emit("connection");
  }

  // What waits in this browser and cannot be sent now: a sentence for each reason, and how to give it up.
  get stranded() {
    const found = [];
    if (this.unplaced.length) {
      const names = [...new Set(this.unplaced.filter(({ photo }) => photo).map(({ photo }) => photo.name))];
      const some = names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
      const sentence = `${marksOf(this.unplaced.filter(({ photo }) => photo).length)} in this browser on photos that the session does not have now (${some}); sent when the photos are back.`;
      found.push({ sentence, discard: () => { this.unplaced = []; this.saveQueue(); } });
    }
    for (const name of Object.keys(localStorage)) {
      if (!/^sns-label [0-9a-f]{16} /.test(name) || name.startsWith(this.place)) continue;
      try {
        const { scene, items } = JSON.parse(localStorage.getItem(name));
        const sentence = `${marksOf(items.length)} in this browser for another session, of ${scene}; sent when that one is open at this address.`;
        found.push({ sentence, discard: () => localStorage.removeItem(name) });
      } catch { /* not ours */ }
    }
    return found;
  }

  act(path, body, made = 0, kept = {}) {
    if (path === "/api/undo") {
      if (!body.revision && this.takeBackUnsent()) return null;
      this.takenBack.push(null);
    } else if (path === "/api/redo") {
      const item = this.takenBack.pop();
      if (item) return this.push({ ...item, sequence: nextSequence() });
    } else {
      this.takenBack = []; // as the server does
    }
    const item = { client: this.client, sequence: nextSequence(), path, body, made, ...kept };
    if (body.mark) item.photo = this.state.frames[body.mark.frame];
    if (body.view) item.cameras = this.state.cameras;
    return this.push(item);
  }

  push(item) {
    this.queue.push(item);
    this.saveQueue();
    this.emit("pending");
    this.pump();
    return item;
  }

  // A mark may be of a class that waits before it: the server then knows the class by the action that adds it.
  // It also says what it was drawn on, which may be another picture or surface once somebody answers.
  bodyOf({ body: drawn, photo, cameras }) {
    const body = { ...drawn, ...(photo && { picture: photo.picture }), ...(cameras && { cameras }) };
    const addedBy = ADDED.exec(body.mark?.class_id)?.[1];
    return addedBy ? { ...body, mark: { ...body.mark, class_id: null }, added_by: Number(addedBy) } : body;
  }

  takeBackUnsent() {
    const last = this.queue.at(-1);
    if (!last || last === this.inFlight || last.path !== "/api/marks" || last.client !== this.client || this.wasTried === last) return false;
    this.takenBack.push(this.queue.pop());
    this.saveQueue();
    this.emit("pending");
    return true;
  }

  async pump() {
    if (this.isPumping) return;
    this.isPumping = true;
    for (let turn = 0; this.queue.length; ) {
      const item = this.queue[0];
      const since = this.state.revision;
      this.inFlight = this.wasTried = item;
      const body = { ...this.bodyOf(item), client: item.client, sequence: item.sequence, show: this.shown, with_confidence: true, since };
      let answer = null;
      let layer = null;
      try {
        answer = await (await this.ask(item.path, body)).json();
        layer = await layerOf(answer);
      } catch (error) {
        if (!(error instanceof Refused)) {
          this.inFlight = null;
          item.hasWaited = true;
          this.fail(error);
          await this.rest(turn++);
          continue;
        }
        if (item.path === "/api/undo") this.takenBack.splice(this.takenBack.lastIndexOf(null) >>> 0, 1);
        if (item.hasWaited && item.photo) this.emit("lost", `A mark on ${item.photo.name} that waited was not taken. ${error.message}`);
        else this.emit(item.path === "/api/undo" ? "undo-refused" : "error", error.message);
      }
      turn = 0;
      if (!answer && !isUndo(item)) this.dropUndoOf(item);
      if (answer?.added !== undefined) this.added.set(addedId(item), answer.added);
      this.finish(item);
      this.recover();
      if (answer) this.receive(answer, since, layer, item); // at once, so that no picture is drawn without the mark
      this.emit("pending");
      if (answer?.notice) this.emit("notice", answer.notice);
      this.emit("done", item);
    }
    this.isPumping = false;
  }

  // An undo that waits behind an action that was refused was meant for that one: it would take back another one.
  dropUndoOf(item) {
    let depth = 0;
    for (const later of this.queue.slice(1).filter(({ client }) => client === item.client)) {
      if (later.path === "/api/redo") return;
      if (!isUndo(later)) depth += isTakenBack(later) ? 1 : 0;
      else if (!later.body.revision && depth-- === 0) {
        this.queue.splice(this.queue.indexOf(later), 1);
        this.takenBack.splice(this.takenBack.indexOf(null) >>> 0, 1);
        return;
      }
    }
  }

  finish(item) {
    this.queue.splice(this.queue.indexOf(item), 1);
    this.inFlight = null;
    this.saveQueue();
  }

  // What the server says

  receive(answer, since, layer = null, item = null) {
    this.keepUnchanged(answer, since);
    // Labels change without a revision when the surface does, or what looks alike: those of before are asked for again.
    if (layer) this.keepLayer(answer.frame, answer.surface === this.state.surface ? layer : { ...layer, revision: -1 });
    if (answer.revision >= this.state.revision) {
      const { revision, classes, progress, marked_frames, import: imported, field } = answer;
      Object.assign(this.state, { revision, classes, progress, marked_frames, import: imported, field });
      this.emit("state");
    }
    this.emit("layers", item);
    if (!this.queue.length) this.refresh(this.shown);
  }

  // Layers that show the same now as at a revision which they are not older than need not be asked for again.
  keepUnchanged({ revision, surface, changed_frames: frames }, since) {
    if (!frames || surface !== this.state.surface) return;
    const changed = new Set(frames);
    for (const [frame, layer] of this.layers) {
      if (!changed.has(frame) && layer.revision >= since && layer.revision < revision) layer.revision = revision;
    }
  }

  // Browsers open six connections to a server for all tabs together: those that nobody sees do not hold one.
  untilHidden() {
    const control = new AbortController();
    const end = () => { control.abort(); clearTimeout(timer); document.removeEventListener("visibilitychange", end); };
    const timer = setTimeout(end, PATIENCE_MS);
    document.addEventListener("visibilitychange", end);
    return control.signal;
  }

  async listen() {
    for (let turn = 0; ; ) {
      await isVisible();
      const since = this.state.revision;
      try {
        if (this.problem) {
          await this.get("/api/state"); // is answered at once, where events wait
          this.recover();
        }
        const answer = await this.get(`/api/events?since=${since}&surface=${this.state.surface ?? 0}${this.state.field ? `&field=${this.state.field.key}` : ""}`, this.untilHidden());
        turn = 0;
        this.recover();
        if (answer.surface !== this.state.surface) {
          this.state.surface = answer.surface;
          for (const layer of this.layers.values()) layer.revision = -1;
        }
        if (answer.revision < this.state.revision && !this.queue.length) this.state.revision = answer.revision;
        this.receive(answer, since);
        if (answer.revision === since) await new Promise((resolve) => setTimeout(resolve, 200));
      } catch (error) {
        if (document.hidden) continue;
        this.fail(error);
        await this.rest(turn++);
      }
    }
  }

  keepLayer(frame, layer) {
    this.layers.delete(frame);
    this.layers.set(frame, layer);
    forgetOldest(this.layers, NUM_LAYERS, this.shown);
  }

  // Label layers of a frame are asked for when the frame is shown and they are older than the session.
  async refresh(frame) {
    const layer = this.layers.get(frame);
    const isFresh = layer && layer.revision >= this.state.revision;
    if (isFresh || this.refreshing.has(frame)) return;
    this.refreshing.set(frame, true);
    const { surface } = this.state;
    try {
      const answers = await Promise.all(["labels", "confidence"].map((one) => this.ask(`/api/frame/${frame}/${one}?revision=${this.state.revision}`)));
      const [labels, confidence] = await Promise.all(answers.map((one) => one.arrayBuffer()));
      const isOld = surface !== this.state.surface; // it may change while the body comes
      const revision = isOld ? -1 : Math.min(...answers.map((one) => Number(one.headers.get("X-Revision"))));
      const known = this.layers.get(frame);
      if (!known || known.revision <= revision)
        this.keepLayer(frame, { revision, labels: new Int16Array(labels), confidence: new Uint8Array(confidence) });
      this.emit("layers");
    } catch (error) {
      if (error instanceof Refused) this.emit("error", error.message);
      else this.fail(error);
      return;
    } finally {
      this.refreshing.delete(frame);
    }
    if (this.layers.get(frame)?.revision < this.state.revision && !this.queue.length && frame === this.shown) this.refresh(frame);
  }

  async regions(frame) {
    if (!this.regionMaps.has(frame)) {
      const map = this.ask(`/api/frame/${frame}/regions?key=${this.state.images_key}`).then(async (one) => new Int32Array(await one.arrayBuffer()));
      map.catch(() => this.regionMaps.delete(frame));
      this.regionMaps.set(frame, map);
      forgetOldest(this.regionMaps, NUM_REGION_MAPS, frame);
    }
    return this.regionMaps.get(frame);
  }

  imageAddress(frame, size = "full") {
    return `/api/frame/${frame}/image?size=${size}&key=${this.state.images_key}`;
  }

  inflated(text) {
    return inflated(text);
  }

  // A class that is merged counts as the one it is merged into.
  resolve(id) {
    let found = this.classOf(id);
    for (let turn = 0; found && found.merged_into !== null && turn < 100; turn++) found = this.classOf(found.merged_into);
    return found;
  }

  classOf(id) {
    const known = this.added.get(id) ?? id;
    return this.state.classes.find((one) => one.id === known) ?? this.adding.find((one) => one.id === known);
  }

  get classes() {
    const known = this.state.classes.filter((one) => one.merged_into === null);
    return [...known, ...this.adding.filter(({ name }) => !known.some((one) => one.name === name))];
  }

  // Classes that the server has not numbered yet.
  get adding() {
    const items = this.queue.filter(({ path, body }) => path === "/api/classes" && body.action === "add");
    return items.map((item) => ({ id: addedId(item), name: item.body.name, color: item.body.color ?? "#888888", is_locked: false, merged_into: null }));
  }
}

function isUndo({ path }) {
  return path === "/api/undo" || path === "/api/redo";
}

// Whether undo takes it back, once the server has it: all but the answer about a whole frame, which is for good.
function isTakenBack(item) {
  return !isUndo(item) && !item.isForGood;
}

function marksOf(count) {
  return count === 1 ? "1 mark waits" : `${count} marks wait`;
}

export function addedId({ sequence }) {
  return `added by ${sequence}`;
}

function forgetOldest(map, count, kept) {
  for (const key of map.keys()) {
    if (map.size <= count) return;
    if (key !== kept) map.delete(key);
  }
}

// The name of this tab: kept when the page is loaded again, so that undo goes on where it was.
function clientName() {
  const kept = sessionStorage.getItem("sns-label client");
  if (kept) return kept;
  const name = [...crypto.getRandomValues(new Uint8Array(9))].map((one) => one.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem("sns-label client", name);
  return name;
}

// Numbers grow, and two tabs of the same name (a tab that was duplicated) do not meet: they hold the time in
// microseconds, of which the last three digits are drawn.
function nextSequence() {
  const last = Number(sessionStorage.getItem("sns-label sequence") ?? 0);
  const next = Math.max(last + 1, Date.now() * 1000 + Math.floor(Math.random() * 1000));
  sessionStorage.setItem("sns-label sequence", String(next));
  return next;
}

function isVisible() {
  if (!document.hidden) return null;
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

async function layerOf({ revision, labels, confidence }) {
  if (labels === undefined) return null;
  const parts = await Promise.all([inflated(labels), inflated(confidence)]);
  return { revision, labels: new Int16Array(parts[0]), confidence: new Uint8Array(parts[1]) };
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
