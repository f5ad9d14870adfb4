// Questions of a run: which unit of which frame it wants labelled, with the class that is guessed.

import { spotlight } from "./canvas.js";
import { element, find, percent, swatch } from "./dom.js";

const NUM_SHOWN = 5;
const REST_MS = 700;

export class Questions {
  constructor(store, view, look, goTo, report) {
    Object.assign(this, { store, view, look, goTo, report });
    this.open = []; // {question, unit}, in the order in which they are asked
    this.current = null;
    this.sent = new Set(); // keys of those answered here, until the server has answered or refused that
    this.skipped = new Set();
    this.maps = new Map();
    this.isShown = false;
    this.begin = () => {}; // called before a unit is asked for
  }

  start() {
    if (!this.store.state.has_questions) return;
    find("question-section").hidden = false;
    this.load();
    this.store.addEventListener("state", () => {
      if (this.revision === this.store.state.revision) return;
      this.revision = this.store.state.revision;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.load(), REST_MS);
    });
    this.store.addEventListener("done", ({ detail: item }) => {
      if (item.path === "/api/answer") this.settle(`${item.body.question} ${item.body.unit}`);
    });
  }

  // A refused answer, or one that did not cover half of its unit, is asked for again.
  async settle(key) {
    await this.load();
    if (this.store.queue.some(({ path, body }) => path === "/api/answer" && `${body.question} ${body.unit}` === key)) return;
    this.sent.delete(key);
    this.show();
  }

  async load() {
    let answer;
    try {
      answer = await this.store.get("/api/questions");
    } catch (error) {
      find("question-note").textContent = error.message;
      return;
    }
    find("question-note").textContent = answer.problem ?? "";
    const { questions } = answer;
    const answered = questions.reduce((sum, one) => sum + one.num_answered, 0);
    const total = questions.reduce((sum, one) => sum + one.num_units, 0);
    find("question-count").textContent = `${answered} of ${total} answered`;
    this.open = questions.flatMap((question) => question.units.filter((unit) => unit.answer === null).map((unit) => ({ question, unit })));
    const known = new Set(this.open.map(keyOf));
    for (const key of this.sent) if (!known.has(key)) this.sent.delete(key);
    if (this.current) this.current = this.open.find((one) => keyOf(one) === keyOf(this.current)) ?? null;
    this.show();
  }

  get left() {
    const open = this.open.filter((one) => !this.sent.has(keyOf(one)));
    return [...open.filter((one) => !this.skipped.has(keyOf(one))), ...open.filter((one) => this.skipped.has(keyOf(one)))];
  }

  show() {
    const rows = this.left.slice(0, NUM_SHOWN).map((one) => {
      const { question, unit } = one;
      const guess = this.store.resolve(unit.guess);
      const says = guess ? [swatch(guess.color), document.createTextNode(` ${guess.name}? ${percent(unit.share)}`)] : [document.createTextNode("No guess")];
      const where = question.is_of_frame ? "whole frame" : `${unit.number} of ${question.num_units}`;
      const title = question.is_of_frame ? `${question.name}: Y answers with all labels shown, T with what is painted, for good` : question.name;
      const button = element(
        "button",
        { attributes: { type: "button", title }, on: { click: () => this.goToUnit(one) } },
        element("img", { attributes: { alt: "", src: this.store.imageAddress(question.frame, "small") } }),
        element("div", {}, element("b", { text: `${this.store.state.frames[question.frame].name}, ${where}` }), element("span", {}, ...says)),
      );
      if (this.current && keyOf(one) === keyOf(this.current)) button.setAttribute("aria-current", "true");
      return element("li", {}, button);
    });
    find("questions").replaceChildren(...rows);
    const isOfFrame = Boolean(this.current?.question.is_of_frame);
    find("answers").hidden = !this.current;
    find("answer-guess").firstChild.textContent = isOfFrame ? "All shown " : "Guess ";
    find("answer-chosen").hidden = isOfFrame;
  }

  async goToUnit(one) {
    this.begin();
    this.current = one;
    const { question, unit } = one;
    if (question.frame !== this.store.shown || this.view.free) this.goTo(question.frame);
    this.show();
    try {
      if (!this.maps.has(question.name)) this.maps.set(question.name, new Int32Array(await (await this.store.ask(`/api/question/${question.name}/units`)).arrayBuffer()));
    } catch (error) {
      this.report(error.message);
      return;
    }
    if (this.current !== one) return;
    const { width, height } = this.store.state.frames[question.frame];
    const map = this.maps.get(question.name);
    this.view.question = { frame: question.frame, picture: spotlight(width, height, (at) => map[at] === unit.number) };
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
    if (this.current) this.skipped.add(keyOf(this.current));
    this.next();
  }

  next() {
    if (!this.store.state.has_questions) return;
    this.begin();
    this.current = this.view.question = null;
    this.view.request();
    const [one] = this.left;
    if (one) this.goToUnit(one);
    else {
      this.show();
      this.report("Every question has an answer.", "info");
    }
  }

  // Answer what is shown with a class of the session.
  answer(isGuess) {
    if (!this.current) {
      this.next();
      return;
    }
    const { question, unit } = this.current;
    const class_id = isGuess ? unit.guess : this.look.chosen;
    if (typeof class_id === "string") {
      this.report("Expected a class that is saved, found one that is still being added; answer again in a moment.");
      return;
    }
    if (class_id === null && !question.is_of_frame) {
      this.report(isGuess ? "Expected a guess to confirm, found none; choose a class and press U." : "Expected a class to answer with; choose one.");
      return;
    }
    if (question.is_of_frame && !isGuess) {
      this.report("The question is about the whole frame: press Y when all labels shown are right, or T to answer with what is painted alone. That is final.");
      return;
    }
    this.send(question.is_of_frame ? {} : { class_id });
  }

  // Answer with what is painted in what is asked: nothing else of it is said.
  answerPainted() {
    if (!this.current) {
      this.next();
      return;
    }
    this.send({ painted: true });
  }

  send(said) {
    const { question, unit } = this.current;
    this.sent.add(keyOf(this.current));
    const body = { question: question.name, run: question.run, unit: unit.number, ...said };
    this.store.act("/api/answer", body, performance.now(), question.is_of_frame ? { isForGood: true } : {});
    this.next();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), REST_MS);
  }
}

function keyOf({ question, unit }) {
  return `${question.name} ${unit.number}`;
}
