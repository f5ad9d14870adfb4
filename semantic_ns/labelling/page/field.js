// What the field says, beside what has spread over voxels: which of them is shown, and how far the field is.

import { find } from "./dom.js";

const NUM_LAYERS = 8;

export class Field {
  constructor(store, view, free, report) {
    this.store = store;
    this.view = view;
    this.free = free;
    this.report = report;
    this.layers = new Map(); // frame -> {version, labels, confidence}
    this.isShown = false;
    this.isWriting = false;
  }

  bind(button) {
    for (const one of document.querySelectorAll("[data-source]")) one.addEventListener("click", () => this.show(one.dataset.source === "field"));
    button("write-run", () => this.write(), "Write the field with these classes as a run of its own, beside its run");
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

  // At once every n-th pixel, which is known; then each one, which is rendered in a second or so.
  async refresh() {
    const { shown } = this.store;
    const { version } = this;
    const known = this.layers.get(shown);
    if (!this.isShown || !version || this.isAsking || this.free.isOn || (known?.version === version && known.isFull)) return;
    this.isAsking = true;
    const isFull = known?.version === version;
    try {
      const asked = `/api/frame/${shown}/field?size=${isFull ? "full" : "small"}&version=${version}`;
      const answers = await Promise.all(["labels", "confidence"].map((part) => this.store.ask(`${asked}&part=${part}`)));
      const [labels, confidence] = await Promise.all(answers.map((one) => one.arrayBuffer()));
      this.layers.delete(shown);
      this.layers.set(shown, { version, isFull, labels: new Int16Array(labels), confidence: new Uint8Array(confidence) });
      while (this.layers.size > NUM_LAYERS) this.layers.delete(this.layers.keys().next().value);
      this.view.colorLabels();
    } catch (error) {
      this.report(error.message);
      if (isFull) known.isFull = true; // as much as there will be
      return;
    } finally {
      this.isAsking = false;
    }
    this.refresh();
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
