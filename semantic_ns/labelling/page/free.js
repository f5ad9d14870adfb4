// The free view: the surface from any pose, drawn by the server. A mark on it is one on the training pixels it shows.

import { joined, moved, parted, roomSize, turned } from "./pose.js";

const MOVING_WIDTH = 256;
const RESTING_WIDTH = 640;
const REST_MS = 180;

export class FreeView {
  constructor(store, view, pointer) {
    this.store = store;
    this.view = view;
    this.pointer = pointer;
    this.isOn = false;
    this.isBusy = false;
    this.isAsked = false;
    this.isField = false; // whether it shows what the field says
  }

  async enter() {
    this.cameras ??= await this.store.get("/api/cameras");
    const { c2w, vertical_fov: fov } = this.cameras;
    Object.assign(this, parted(c2w[this.store.shown]));
    this.fov = fov[this.store.shown];
    this.size = roomSize(c2w);
    this.isOn = true;
    await this.render(RESTING_WIDTH);
  }

  leave() {
    this.isOn = this.isAsked = false;
    clearTimeout(this.timer);
    this.view.free = null;
  }

  turn(dx, dy) {
    if (this.pointer.isDrawing) this.pointer.cancel(); // its points belong to the picture of before
    this.rotation = turned(this.rotation, dx, dy);
    this.request();
  }

  move(right, up, forward) {
    if (this.pointer.isDrawing) this.pointer.cancel();
    this.position = moved(this.rotation, this.position, this.size, right, up, forward);
    this.request();
  }

  // A small picture at once, and a sharp one when nothing moves any more; none while something is being drawn, since
  // its points are pixels of the picture that is shown.
  async request(width = MOVING_WIDTH) {
    clearTimeout(this.timer);
    if (!this.isOn) return;
    if (this.isBusy || this.pointer.isDrawing) {
      this.isAsked = true;
      return;
    }
    this.isAsked = false;
    await this.render(width);
    if (this.isAsked) {
      this.request();
    } else if (width === MOVING_WIDTH) {
      this.timer = setTimeout(() => this.request(RESTING_WIDTH), REST_MS);
    }
  }

  // What was asked for while something was being drawn.
  resume() {
    if (this.isAsked && !this.isBusy) this.request(RESTING_WIDTH);
  }

  async render(width) {
    const height = Math.max(1, Math.round((width * this.view.height) / this.view.width));
    const pose = joined(this.rotation, this.position);
    const asked = { pose, vertical_fov: this.fov, height, width };
    this.isBusy = true;
    try {
      const source = this.isField ? "field" : "voxels";
      const answer = await (await this.store.ask("/api/view", { ...asked, source })).json();
      const bytes = Uint8Array.from(atob(answer.color), (sign) => sign.charCodeAt(0));
      const layers = [answer.labels, answer.confidence].map((one) => this.store.inflated(one));
      const [picture, labels, confidence] = await Promise.all([createImageBitmap(new Blob([bytes], { type: "image/jpeg" })), ...layers]);
      if (!this.isOn) return;
      if (this.pointer.isDrawing) {
        this.isAsked = true;
        return;
      }
      this.view.free = { name: "Free view", width, height, picture, labels: new Int16Array(labels), confidence: new Uint8Array(confidence), asked };
      this.view.fit();
      this.view.colorLabels();
      this.store.emit("hover");
    } catch (error) {
      this.store.emit("error", error.message);
    } finally {
      this.isBusy = false;
    }
  }
}
