// Masks that a network proposes for a click: shown before they count, then accepted or dropped.

import { painted } from "./canvas.js";

const REST_MS = 300;

export class Segments {
  constructor(store, view, pointer, report) {
    this.store = store;
    this.view = view;
    this.pointer = pointer;
    this.report = report;
    this.proposal = null; // {frame, points, runs, mask}
    this.turn = 0; // of the newest request; answers of others come too late
  }

  get isOffered() {
    return Boolean(this.store.state?.has_segmenter);
  }

  get isWaiting() {
    return this.asked !== undefined;
  }

  // Encoding an image takes seconds; it begins when a frame is looked at with the tool, and not when it is passed.
  prepare(frame) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (frame === this.store.shown) this.store.ask("/api/segment", { frame, points: [] }).catch((error) => this.report(error.message));
    }, REST_MS);
  }

  // A place inside the mask that is shown accepts it; another one is asked about anew, or beside those of before.
  click(place, { isAdded = false, isOutside = false } = {}) {
    const { proposal } = this;
    if (proposal && !isAdded && !isOutside && this.view.at(proposal.mask, place)) return this.accept();
    if (!this.view.isInside(place)) return undefined;
    const before = proposal && (isAdded || isOutside) ? proposal.points : [];
    if (isOutside && !before.length) return undefined;
    return this.ask([...before, [place.x, place.y, !isOutside]]);
  }

  async ask(points) {
    const frame = this.store.shown;
    const turn = ++this.turn;
    this.asked = points;
    this.store.emit("segment");
    try {
      const answer = await (await this.store.ask("/api/segment", { frame, points }, null)).json();
      const mask = new Uint8Array(await this.store.inflated(answer.mask));
      if (turn !== this.turn) return;
      this.proposal = { frame, points, runs: answer.runs, mask };
      this.show();
    } catch (error) {
      if (turn === this.turn) this.report(error.message);
    } finally {
      if (turn === this.turn) this.asked = undefined;
      this.store.emit("segment");
    }
  }

  show() {
    const { mask } = this.proposal;
    const { width, height } = this.view.frame;
    const value = (this.view.parseColor(this.pointer.color()) | 0xff000000) >>> 0;
    const isBorder = (at, column) => (column && !mask[at - 1]) || (column + 1 < width && !mask[at + 1]) || !mask[at - width] || !mask[at + width];
    this.view.region = painted(width, height, (at, column) => (mask[at] ? (isBorder(at, column) ? 0xffffffff : value) : 0));
    this.view.request();
  }

  // The mask becomes a mark of its own.
  accept() {
    const { proposal } = this;
    if (!proposal || proposal.frame !== this.store.shown) return false;
    this.drop();
    this.pointer.mode = this.pointer.tool.mode;
    this.pointer.asked = null;
    this.view.keepMask(proposal.runs, proposal.mask);
    this.pointer.send({ kind: "mask", runs: proposal.runs });
    return true;
  }

  drop() {
    const had = Boolean(this.proposal) || this.isWaiting;
    this.turn++;
    this.proposal = null;
    this.asked = undefined;
    if (had) {
      this.view.region = null;
      this.view.request();
      this.store.emit("segment");
    }
    return had;
  }
}
