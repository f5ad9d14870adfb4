// While the surface is trained: how far it is, the training images, and the surface itself from any pose. The server
// changes to the page for labelling when it is done, and this page with it.

import { element, find } from "./dom.js";
import { joined, moved, parted, roomSize, turned } from "./pose.js";

const POLL_MS = 1000;
const LONGEST = 192; // side of a picture of the surface, pixels; the training waits while it is rendered
const REST_MS = 4000; // after which the picture is taken again, as the surface has become finer
const KEYS = { a: [-1, 0, 0], d: [1, 0, 0], w: [0, 0, 1], s: [0, 0, -1], q: [0, -1, 0], e: [0, 1, 0], ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1] };

const HINT = "Drag to turn, scroll or W A S D to move";

class Waiting {
  constructor() {
    this.isBusy = this.isAsked = false;
    this.isLooking = false; // whether the surface is shown, and not an image
    if (location.search) history.replaceState(null, "", location.pathname); // without the token
    this.poll();
    const stage = find("stage");
    stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
    stage.addEventListener("pointermove", (event) => event.buttons & 1 && this.turn(event.movementX, event.movementY));
    stage.addEventListener("wheel", (event) => (event.preventDefault(), this.move(0, 0, -Math.sign(event.deltaY))), { passive: false });
    addEventListener("keydown", (event) => {
      const step = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.move(...step);
    });
  }

  async poll() {
    try {
      const answer = await fetch("/api/waiting");
      if (answer.status === 404) return location.reload(); // what is served now is the page for labelling
      if (!answer.ok) throw new Error((await answer.json()).error);
      this.show(await answer.json());
      find("sentence").parentElement.classList.remove("ended");
    } catch {
      find("sentence").textContent = "sns-label does not answer; look into its terminal.";
      find("sentence").parentElement.classList.add("ended");
    }
    setTimeout(() => this.poll(), POLL_MS);
  }

  show(state) {
    document.title = `${Math.floor(100 * state.share)} % · ${state.name}`;
    find("scene").textContent = state.name;
    find("sentence").textContent = state.sentence;
    find("share").value = state.share;
    find("numbers").textContent = state.step ? `Step ${state.step}, ${state.seconds} s of at most ${state.limit_s} s` : "";
    if (state.has_cameras && !this.cameras) this.begin();
    document.documentElement.dataset.ready = "";
  }

  async begin() {
    const answer = await fetch("/api/waiting/cameras");
    if (!answer.ok || this.cameras) return;
    const cameras = await answer.json();
    if (this.cameras) return;
    this.cameras = cameras;
    this.size = roomSize(cameras.c2w);
    const buttons = Array.from({ length: cameras.images }, (_, number) => {
      const image = element("img", { attributes: { src: `/api/waiting/image?number=${number}&size=small`, alt: `Image ${number + 1}`, loading: "lazy" } });
      return element("button", { attributes: { type: "button" }, on: { click: () => this.choose(number) } }, image, element("span", { text: String(number + 1), classes: "number" }));
    });
    find("strip").replaceChildren(...buttons);
    find("hint").textContent = HINT;
    this.choose(0);
  }

  // A training image, from whose pose one looks around.
  choose(number) {
    Object.assign(this, parted(this.cameras.c2w[number]));
    this.fov = this.cameras.vertical_fov[number];
    this.isLooking = false;
    clearTimeout(this.timer);
    find("picture").src = `/api/waiting/image?number=${number}`;
    [...find("strip").children].forEach((one, place) => one.setAttribute("aria-current", String(place === number)));
  }

  turn(dx, dy) {
    if (!this.rotation) return;
    this.rotation = turned(this.rotation, dx, dy);
    this.look();
  }

  move(right, up, forward) {
    if (!this.rotation) return;
    this.position = moved(this.rotation, this.position, this.size, right, up, forward);
    this.look();
  }

  // One picture at a time; what is asked for meanwhile is asked for after it.
  async look() {
    this.isLooking = true;
    clearTimeout(this.timer);
    if (this.isBusy) {
      this.isAsked = true;
      return;
    }
    this.isBusy = true;
    this.isAsked = false;
    try {
      const { aspect } = this.cameras;
      const [width, height] = [Math.min(1, aspect), Math.min(1, 1 / aspect)].map((share) => Math.max(1, Math.round(LONGEST * share)));
      const asked = { pose: joined(this.rotation, this.position), vertical_fov: this.fov, width, height };
      const answer = await fetch("/api/waiting/view", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
      find("hint").textContent = answer.ok ? HINT : (await answer.json()).error;
      if (answer.ok && this.isLooking) {
        const before = find("picture").src;
        find("picture").src = URL.createObjectURL(await answer.blob());
        if (before.startsWith("blob:")) URL.revokeObjectURL(before);
      }
    } catch {
      // `poll` says what is wrong.
    } finally {
      this.isBusy = false;
    }
    if (this.isAsked && this.isLooking) this.look();
    else if (this.isLooking) this.timer = setTimeout(() => document.hidden || this.look(), REST_MS);
  }
}

globalThis.snsWaiting = new Waiting();
