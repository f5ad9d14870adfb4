// Regions of the surface that the session suggests: where a look is worth most, with the class that is guessed.
//
// One is asked for at a time, as a question of a run is. Its answer is a point in its middle: a mark like any other.

import { spotlight } from "./canvas.js";
import { element, find, percent, swatch } from "./dom.js";

const NUM_SHOWN = 5;
const REST_MS = 1000;

export class Regions {
  constructor(store, view, look, goTo, report) {
    Object.assign(this, { store, view, look, goTo, report });
    this.isOn = false;
    this.ranked = [];
    this.current = null; // {rank, mask}; the mask is null until it has come
    this.skipped = []; // of the same form
    this.answered = null; // the last one that was answered, with the body of its mark
    this.revision = -1;
    this.begin = () => {}; // called before a region is asked for
    store.addEventListener("state", () => {
      const { revision, surface } = store.state;
      if (this.isOn && (revision !== this.revision || surface !== this.surface)) this.loadSoon();
    });
    store.addEventListener("done", ({ detail: item }) => {
      if (item.body === this.answered?.body) this.goOn();
    });
  }

  suggest(isOn) {
    this.isOn = isOn;
    this.ranked = [];
    this.skipped = [];
    clearTimeout(this.timer);
    this.leave();
    this.show();
    if (isOn) this.load();
  }

  loadSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), REST_MS);
  }

  async load() {
    clearTimeout(this.timer);
    this.surface = this.store.state.surface;
    let answer;
    try {
      answer = await this.store.get("/api/ranked_regions");
    } catch {
      return; // the state line says that the server does not answer
    }
    if (!this.isOn || answer.revision < this.revision) return;
    this.revision = answer.revision;
    this.ranked = answer.ranked;
    const { current } = this;
    if (current?.mask) {
      // The guess may be another one now; what somebody else has labelled is asked for no more.
      const rank = this.ranked.find((one) => this.isIn(one, current));
      if (rank) this.light({ ...current, rank });
      else this.leave();
    }
    this.show();
  }

  isIn(rank, { rank: { frame }, mask }) {
    return rank.frame === frame && Boolean(mask[Math.floor(rank.y) * this.store.state.frames[frame].width + Math.floor(rank.x)]);
  }

  isSkipped(rank) {
    return this.skipped.some((one) => this.isIn(rank, one));
  }

  get left() {
    const isAnswered = this.store.queue.some(({ body }) => body === this.answered?.body);
    const open = this.ranked.filter((rank) => !isAnswered || !this.isIn(rank, this.answered));
    return [...open.filter((rank) => !this.isSkipped(rank)), ...open.filter((rank) => this.isSkipped(rank))];
  }

  show() {
    const rows = this.left.slice(0, NUM_SHOWN).map((rank) => {
      const guess = this.store.resolve(rank.guess);
      const says = guess ? [swatch(guess.color), document.createTextNode(` ${guess.name}? ${percent(rank.confidence)}`)] : [document.createTextNode("No guess")];
      const button = element(
        "button",
        { attributes: { type: "button" }, on: { click: () => this.goToRegion(rank) } },
        element("img", { attributes: { alt: "", src: this.store.imageAddress(rank.frame, "small") } }),
        element("div", {}, element("b", { text: this.store.state.frames[rank.frame].name }), element("span", {}, ...says, element("br"), document.createTextNode(rank.reason))),
      );
      if (rank === this.current?.rank) button.setAttribute("aria-current", "true");
      return element("li", {}, button);
    });
    find("ranked-regions").replaceChildren(...rows);
  }

  async goToRegion(rank) {
    this.begin();
    const asked = { rank, mask: null };
    this.current = asked;
    const { frame, x, y } = rank;
    if (frame !== this.store.shown || this.view.free) this.goTo(frame);
    this.show();
    let mask;
    try {
      const answer = await this.store.ask(`/api/frame/${frame}/ranked?x=${x}&y=${y}&revision=${this.store.state.revision}`);
      mask = new Uint8Array(await answer.arrayBuffer());
    } catch (error) {
      if (this.current !== asked) return;
      this.leave();
      this.report(error.message);
      this.load();
      return;
    }
    if (this.current !== asked) return;
    this.light({ rank, mask });
    this.show();
  }

  // Darken what is not asked for, and show where the answer counts.
  light(asked) {
    this.current = asked;
    const { rank, mask } = asked;
    const { frame, x, y, radius } = rank;
    const { width, height } = this.store.state.frames[frame];
    const text = `${this.store.resolve(rank.guess)?.name ?? ""}?`;
    this.view.question = { frame, picture: spotlight(width, height, (at) => mask[at]), disc: { x, y, radius, text } };
    this.view.request();
  }

  // Ask for none.
  leave() {
    if (!this.current) return;
    this.current = this.view.question = null;
    this.view.request();
    this.show();
  }

  skip() {
    if (this.current?.mask) {
      this.skipped.push(this.current);
      if (this.ranked.every((rank) => this.isSkipped(rank))) this.skipped = [this.current]; // from the first one on again
    }
    this.next();
  }

  async next() {
    if (!this.isOn) {
      this.report("Switch on Suggest frames and regions to see which regions need a look.", "info");
      return;
    }
    this.leave();
    if (!this.left.length) await this.load();
    if (this.current) return;
    const [rank] = this.left;
    if (rank) this.goToRegion(rank);
    else this.report("Every region is sure enough.", "info");
  }

  // Answer with the class that is guessed, or with the chosen one.
  answer(isGuess) {
    const { current } = this;
    if (!current) {
      if (this.isOn) this.next();
      return;
    }
    const { frame, x, y, radius, guess } = current.rank;
    if (!current.mask || frame !== this.store.shown || this.view.free) {
      this.goToRegion(current.rank); // what is not seen is not answered
      return;
    }
    const class_id = isGuess ? guess : this.look.chosen;
    if (class_id === null) {
      this.report(isGuess ? "Expected a guess to confirm, found none; choose a class and press U." : "Expected a class to answer with; choose one.");
      return;
    }
    const body = { mark: { frame, class_id, action: "paint", shape: { kind: "click", x, y, radius } } };
    this.answered = { ...current, body };
    this.leave();
    this.store.act("/api/marks", body, performance.now());
  }

  // What comes next is known once the answer has spread. A region that is still the first one, as where the answer was
  // refused, waits behind the others.
  async goOn() {
    const { answered } = this;
    this.answered = null;
    await this.load();
    if (!this.isOn || this.current) return;
    if (this.left.length && this.isIn(this.left[0], answered)) this.skipped.push(answered);
    this.next();
  }
}
