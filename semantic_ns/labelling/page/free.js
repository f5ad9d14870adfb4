// The free view: the surface from any pose, drawn by the server. A mark on it is one on the training pixels it shows.

const MOVING_WIDTH = 256;
const RESTING_WIDTH = 640;
const REST_MS = 180;
const TURN = 0.004; // radians for each pixel that the pointer moves
const STEP = 0.03; // of the room's size

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
    const pose = c2w[this.store.shown];
    this.rotation = [0, 1, 2].map((row) => [0, 1, 2].map((column) => pose[4 * row + column])); // columns: right, up, back
    this.position = [3, 7, 11].map((place) => pose[place]);
    this.fov = fov[this.store.shown];
    const extents = [3, 7, 11].map((place) => Math.max(...c2w.map((one) => one[place])) - Math.min(...c2w.map((one) => one[place])));
    this.size = Math.max(0.05, Math.hypot(...extents));
    this.isOn = true;
    await this.render(RESTING_WIDTH);
  }

  leave() {
    this.isOn = this.isAsked = false;
    clearTimeout(this.timer);
    this.view.free = null;
  }

  // About the world's vertical, and about the camera's horizontal axis.
  turn(dx, dy) {
    if (this.pointer.isDrawing) this.pointer.cancel(); // its points belong to the picture of before
    const [c, s] = [Math.cos(-dx * TURN), Math.sin(-dx * TURN)];
    const [x, y, z] = this.rotation;
    const turned = [x.map((value, i) => c * value - s * y[i]), x.map((value, i) => s * value + c * y[i]), z];
    const [d, t] = [Math.cos(-dy * TURN), Math.sin(-dy * TURN)];
    const next = turned.map(([right, up, back]) => [right, d * up + t * back, d * back - t * up]);
    const isUpright = next[2][1] > 0.02; // no further than straight up and straight down
    this.rotation = isUpright ? next : turned;
    this.request();
  }

  move(right, up, forward) {
    if (this.pointer.isDrawing) this.pointer.cancel();
    const step = STEP * this.size;
    this.position = this.position.map((value, i) => value + step * (right * this.rotation[i][0] + up * this.rotation[i][1] - forward * this.rotation[i][2]));
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
    const pose = this.rotation.flatMap((row, i) => [...row, this.position[i]]);
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
