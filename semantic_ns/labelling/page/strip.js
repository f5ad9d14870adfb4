// The film strip, and the frames that are suggested.

import { element, find } from "./dom.js";

const NUM_SUGGESTED = 6;
const REST_MS = 1000;

export class Strip {
  constructor(store, goTo) {
    this.store = store;
    this.goTo = goTo;
    this.strip = find("strip");
    this.isSuggesting = false;
    this.strip.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.deltaX) return;
      event.preventDefault();
      this.strip.scrollLeft += event.deltaY;
    }, { passive: false });
  }

  build() {
    const buttons = this.store.state.frames.map(({ name, width, height }, number) => {
      const picture = element("img", { attributes: { alt: "", loading: "lazy", decoding: "async", src: this.store.imageAddress(number, "small"), draggable: "false" } });
      const button = element(
        "button",
        { attributes: { type: "button", title: name, "aria-label": `Frame ${number + 1}, ${name}` }, on: { click: () => this.goTo(number) } },
        picture,
        element("span", { classes: "number", text: String(number + 1) }),
      );
      button.style.width = `${Math.round(Math.min(130, Math.max(44, (66 * width) / height)))}px`;
      return button;
    });
    this.strip.replaceChildren(...buttons);
  }

  // The frame that is shown.
  show() {
    const shown = this.strip.children[this.store.shown];
    for (const one of this.strip.querySelectorAll("[aria-current]")) one.removeAttribute("aria-current");
    shown.setAttribute("aria-current", "true");
    const { offsetLeft, offsetWidth } = shown;
    const { scrollLeft, clientWidth } = this.strip;
    const room = 2 * offsetWidth;
    if (offsetLeft - room < scrollLeft || offsetLeft + offsetWidth + room > scrollLeft + clientWidth)
      this.strip.scrollLeft = offsetLeft - (clientWidth - offsetWidth) / 2;
  }

  // Which frames have marks.
  update() {
    const marked = new Set(this.store.state.marked_frames);
    [...this.strip.children].forEach((button, number) => {
      const dot = button.querySelector(".marked");
      if (marked.has(number) === Boolean(dot)) return;
      if (dot) dot.remove();
      else button.append(element("span", { classes: "marked", attributes: { title: "Has marks" } }));
    });
    this.suggestSoon();
  }

  // The next frame without marks, in a circle; null if all have some.
  nextUnlabelled() {
    const marked = new Set(this.store.state.marked_frames);
    const count = this.store.state.frames.length;
    for (let step = 1; step < count; step++) {
      const frame = (this.store.shown + step) % count;
      if (!marked.has(frame)) return frame;
    }
    return null;
  }

  suggest(isSuggesting) {
    this.isSuggesting = isSuggesting;
    find("ranked").replaceChildren();
    if (isSuggesting) this.loadRanked();
  }

  suggestSoon() {
    if (!this.isSuggesting) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.loadRanked(), REST_MS);
  }

  async loadRanked() {
    let ranked;
    try {
      ({ ranked } = await this.store.get("/api/ranked"));
    } catch {
      return; // the state line says that the server does not answer
    }
    if (!this.isSuggesting) return;
    const rows = ranked.slice(0, NUM_SUGGESTED).map(({ frame, reason }) =>
      element("li", {}, element(
        "button",
        { attributes: { type: "button" }, on: { click: () => this.goTo(frame) } },
        element("img", { attributes: { alt: "", src: this.store.imageAddress(frame, "small") } }),
        element("div", {}, element("b", { text: this.store.state.frames[frame].name }), element("span", { text: reason })),
      )),
    );
    find("ranked").replaceChildren(...rows);
  }
}
