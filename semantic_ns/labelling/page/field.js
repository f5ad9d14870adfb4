// What the field says, beside what has spread over voxels: which of them is shown, and how far the field is.

import { find } from "./dom.js";

const NUM_LAYERS = 8;
const REST_MS = 200; // that a frame is looked at before it is rendered

export class Field {
  constructor(store, view, free, report) {
    this.store = store;
    this.view = view;
    this.free = free;
    this.report = report;
    this.layers = new Map(); // frame -> {version, labels, confidence, numRows, isFull}
    this.isShown = false;
    this.isWriting = false;
  }

  bind(button) {
    for (const one of document.querySelectorAll("[data-source]")) one.addEventListener("click", () => this.show(one.dataset.source === "field"));
    button("write-run", () => this.write(), "Write the field with these classes as a run of its own, beside its run");
    button("begin-again", () => this.beginAgain(), "Let the field follow the labels again");
  }

  get state() {
    return this.store.state?.field ?? null;
  }

  get hasSpoken() {
    return Boolean(this.state?.version);
  }

  show(isShown) {
    if (isShown && !this.hasSpoken) {
      this.report("The field has not learned the labels yet; make some marks and wait a little.", "info");
      return;
    }
    this.isShown = this.free.isField = isShown;
    for (const one of document.querySelectorAll("[data-source]")) one.setAttribute("aria-pressed", String((one.dataset.source === "field") === isShown));
    this.refresh();
    this.view.colorLabels();
    if (this.free.isOn) this.free.request(640);
  }

  // The layer of the frame that is shown; null where the voxels are.
  get layer() {
    return this.isShown ? this.layers.get(this.store.shown) ?? null : null;
  }

  // After the state of the session has changed.
  update() {
    const { state } = this;
    find("field-section").hidden = !state;
    if (!state) return;
    if (this.version !== state.version) {
      this.version = state.version;
      if (this.isShown && this.free.isOn) this.free.request(640);
    }
    find("write-run").disabled = !this.hasSpoken || this.isWriting;
    find("begin-again").hidden = state.state !== "failed";
    if (!this.isWriting) find("field-note").textContent = this.sentence(state);
    this.refresh();
  }

  sentence({ state, revision, version, seconds, sentence }) {
    if (sentence) return sentence;
    const behind = this.store.state.revision - revision;
    if (state === "loading") return "The run is being loaded";
    if (state === "training") return version ? "Learning the newest marks" : "Learning the marks";
    if (!version) return "Learns from your marks in the background";
    const time = `learned in ${seconds.toFixed(1)} s`;
    return behind > 0 ? `${behind} ${behind === 1 ? "action" : "actions"} behind` : `Up to date, ${time}`;
  }

  // At once every n-th pixel, which is known; then all of them, some rows at a time, as long as somebody looks.
  async refresh() {
    const { shown } = this.store;
    const { version } = this;
    const isWanted = () => this.isShown && !this.free.isOn && this.store.shown === shown && this.version === version;
    const known = this.layers.get(shown);
    const asking = `${shown} ${version}`;
    if (!version || !isWanted() || this.asking === asking || (known?.version === version && known.isFull)) return;
    this.control?.abort(); // what nobody looks at any more holds no connection
    const control = this.control = new AbortController();
    this.asking = asking;
    let layer = known?.version === version ? known : null;
    try {
      layer ??= await this.askAll(shown, version, control.signal);
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
      while (isWanted() && !layer.isFull) {
        await this.askRows(shown, layer, control.signal);
        this.view.colorLabels();
      }
    } catch (error) {
      if (control.signal.aborted) return;
      this.report(error.message);
      if (layer) layer.isFull = true; // as much as there will be
    } finally {
      if (this.control === control) this.asking = null;
    }
  }

  async askAll(frame, version, signal) {
    const asked = `/api/frame/${frame}/field?version=${version}`;
    const answers = await Promise.all(["labels", "confidence"].map((part) => this.store.ask(`${asked}&part=${part}`, undefined, signal)));
    const [labels, confidence] = await Promise.all(answers.map((one) => one.arrayBuffer()));
    const layer = { version, isFull: false, numRows: 0, labels: new Int16Array(labels), confidence: new Uint8Array(confidence) };
    this.layers.delete(frame);
    this.layers.set(frame, layer);
    while (this.layers.size > NUM_LAYERS) this.layers.delete(this.layers.keys().next().value);
    this.view.colorLabels();
    return layer;
  }

  // The next rows of a layer; they take a fraction of a second, and longer where the field is learning.
  async askRows(frame, layer, signal) {
    const { height, width } = this.store.state.frames[frame];
    const answer = await (await this.store.ask(`/api/frame/${frame}/field?row=${layer.numRows}`, undefined, signal)).json();
    const [labels, confidence] = await Promise.all([answer.labels, answer.confidence].map((one) => this.store.inflated(one)));
    layer.labels.set(new Int16Array(labels), layer.numRows * width);
    layer.confidence.set(new Uint8Array(confidence), layer.numRows * width);
    layer.numRows += confidence.byteLength / width;
    layer.isFull = layer.numRows >= height;
  }

  async beginAgain() {
    try {
      await this.store.ask("/api/field", { action: "begin-again" });
    } catch (error) {
      this.report(error.message);
    }
  }

  async write() {
    this.isWriting = true;
    find("write-run").disabled = true;
    find("field-note").textContent = "Writing";
    try {
      const { config } = await (await this.store.ask("/api/run", {}, null)).json(); // as long as it takes
      find("field-note").textContent = `Wrote ${config}`;
      this.report(`Wrote ${config}; open it with ns-viewer --load-config.`, "info");
    } catch (error) {
      find("field-note").textContent = error.message;
    } finally {
      this.isWriting = false;
      find("write-run").disabled = !this.hasSpoken;
    }
  }
}
