// The list of classes: choose, find, add, lock, and dialogs to rename, recolour, merge and delete.

import { element, find, icon, swatch } from "./dom.js";
import { addedId } from "./store.js";

const NUM_KEYS = 9;
// Colours that are told apart on dark and on light pictures, also by most people who do not see all colours.
const NEW_COLORS = [
  "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#7f3c8d", "#11a579", "#3969ac", "#f2b701", "#e73f74", "#80ba5a", "#e68310", "#00a3a3",
  "#cf1c90", "#f97b72", "#4b4b8f", "#a5aa99", "#8c564b",
];

export class ClassList {
  constructor(store, look, choose) {
    this.store = store;
    this.look = look; // {chosen}
    this.choose = choose;
    this.shares = new Map();
    this.search = find("search");
    this.list = find("classes");
    this.add = find("add");
    this.search.addEventListener("input", () => this.show());
    this.search.addEventListener("keydown", (event) => this.searchKey(event));
    this.add.addEventListener("click", () => this.addTyped());
    this.dialog = find("class-dialog");
    find("class-form").addEventListener("submit", () => this.save());
    find("class-delete").addEventListener("click", () => this.askToDelete());
    find("delete-form").addEventListener("submit", () => this.deleteAsked());
  }

  // The ids of the classes of the keys 1 to 9: those that a person gave a key, and the first others in the list.
  get keyed() {
    const given = JSON.parse(localStorage.getItem(this.keyPlace) ?? "{}");
    const isThere = (id) => this.store.classes.some((one) => one.id === id);
    const chosen = new Set(Object.values(given));
    const others = this.store.classes.map((one) => one.id).filter((id) => !chosen.has(id));
    return Array.from({ length: NUM_KEYS }, (_, place) => (isThere(given[place + 1]) ? given[place + 1] : others.shift()));
  }

  get keyPlace() {
    return `sns-label keys ${this.store.identity}`;
  }

  byKey(number) {
    return this.keyed[number - 1];
  }

  keyOf(id) {
    const place = this.keyed.indexOf(id);
    return place >= 0 ? place + 1 : null;
  }

  // Give a class a key, which is kept for this scene. The others keep theirs as far as they were given.
  assignKey(id, number) {
    if (typeof id === "string") return; // it has no number yet
    const given = Object.entries(JSON.parse(localStorage.getItem(this.keyPlace) ?? "{}")).filter(([, other]) => other !== id);
    localStorage.setItem(this.keyPlace, JSON.stringify({ ...Object.fromEntries(given), [number]: id }));
    this.show();
  }

  get typed() {
    return this.search.value.trim().replace(/\s+/g, " ");
  }

  // Classes that fit what is typed: those that begin with it first.
  get matches() {
    const wanted = this.typed.toLowerCase();
    const rank = ({ name }) => (name.toLowerCase() === wanted ? 0 : name.toLowerCase().startsWith(wanted) ? 1 : 2);
    const fitting = this.store.classes.filter((one) => one.name.toLowerCase().includes(wanted));
    return wanted ? fitting.sort((one, other) => rank(one) - rank(other)) : fitting;
  }

  // Share of the frame that each class covers.
  count(labels) {
    const counts = new Map();
    let last = -1;
    let run = 0;
    const add = () => last >= 0 && counts.set(last, (counts.get(last) ?? 0) + run);
    for (const label of labels ?? []) {
      if (label !== last) {
        add();
        last = label;
        run = 0;
      }
      run++;
    }
    add();
    this.shares = new Map();
    for (const [id, count] of counts) {
      const known = this.store.resolve(id)?.id;
      this.shares.set(known, (this.shares.get(known) ?? 0) + count / labels.length);
    }
    for (const row of this.list.querySelectorAll("li[data-id]")) row.querySelector(".share").textContent = this.shareText(Number(row.dataset.id));
  }

  shareText(id) {
    const share = this.shares.get(id);
    return share === undefined ? "" : share < 0.01 ? "<1 %" : `${Math.round(100 * share)} %`;
  }

  show() {
    const focused = document.activeElement?.closest?.("#classes li")?.dataset.id;
    const part = document.activeElement?.dataset?.part;
    const { keyed } = this;
    const rows = this.matches.map((one) => this.row(one, keyed.indexOf(one.id) + 1));
    if (!rows.length) {
      const text = this.typed ? "No class of this name." : "No class yet. Type a name above and press Enter.";
      rows.push(element("li", { classes: "empty", text }));
    }
    const top = this.list.scrollTop;
    this.list.replaceChildren(...rows);
    this.list.scrollTop = top;
    if (this.reveal) this.list.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
    this.reveal = false;
    if (focused !== undefined) this.list.querySelector(`li[data-id="${focused}"] [data-part="${part}"]`)?.focus();
    const isKnown = this.store.classes.some((one) => one.name === this.typed);
    this.add.hidden = !this.typed || isKnown;
    this.add.textContent = `Add “${this.typed}”`;
  }

  row({ id, name, color, is_locked: isLocked, is_void: isVoid }, key) {
    const isChosen = id === this.look.chosen;
    const main = element(
      "button",
      {
        classes: "main",
        attributes: { type: "button", "aria-pressed": String(isChosen), title: key > 0 ? `${name} (${key})` : name, "data-part": "main" },
        on: { click: () => this.choose(id) },
      },
      swatch(color),
      element("span", { classes: "name", text: name }),
      ...(isVoid ? [element("span", { classes: "void", text: "void" })] : []),
      element("span", { classes: "share", text: this.shareText(id) }),
      key > 0 ? element("kbd", { text: String(key) }) : element("span", { classes: "key-space" }),
    );
    const lockTitle = isLocked ? `Unlock ${name}` : `Lock ${name}: marks of other classes leave it as it is`;
    const lock = element(
      "button",
      {
        classes: "icon",
        attributes: { type: "button", "aria-pressed": String(isLocked), title: lockTitle, "aria-label": lockTitle, "data-part": "lock" },
        on: { click: () => this.store.act("/api/classes", { action: "lock", id, is_locked: !isLocked }) },
      },
      icon(isLocked ? "lock" : "unlock"),
    );
    const editTitle = `Rename, recolour, merge or delete ${name}`;
    const edit = element(
      "button",
      { classes: "icon", attributes: { type: "button", title: editTitle, "aria-label": editTitle, "data-part": "edit" }, on: { click: () => this.edit(id) } },
      icon("edit"),
    );
    edit.disabled = lock.disabled = typeof id === "string"; // until it has a number
    const row = element("li", { classes: isChosen ? "chosen" : "" }, main, edit, lock);
    row.dataset.id = id;
    return row;
  }

  searchKey(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      const [first] = this.matches;
      if (!this.typed) return;
      if (first && !event.shiftKey) this.finishSearch(first.id);
      else this.addTyped();
    } else if (event.key === "Escape") {
      this.finishSearch(null);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      this.list.querySelector("button")?.focus();
    }
  }

  finishSearch(id) {
    this.search.value = "";
    if (id !== null) this.choose(id);
    this.show();
    find("canvas").focus({ preventScroll: true });
  }

  addTyped() {
    const name = this.typed;
    const known = this.store.classes.find((one) => one.name === name);
    if (known) {
      this.finishSearch(known.id);
      return;
    }
    const all = [...this.store.state.classes, ...this.store.adding];
    const used = new Set(all.map((one) => one.color));
    const color = NEW_COLORS.find((one) => !used.has(one)) ?? NEW_COLORS[all.length % NEW_COLORS.length];
    this.before = this.look.chosen;
    this.newest = addedId(this.store.act("/api/classes", { action: "add", name, color }));
    this.finishSearch(this.newest);
  }

  // Whether a class is the one that was added last in this page; taken back, it leaves the choice to the one before.
  isNewest(id) {
    return id !== null && (id === this.newest || id === this.store.added.get(this.newest));
  }

  edit(id) {
    const { name, color } = this.store.classOf(id);
    this.edited = id;
    find("class-title").textContent = name;
    find("class-name").value = name;
    find("class-color").value = color;
    const others = this.store.classes.filter((one) => one.id !== id);
    const choices = others.map((one) => element("option", { text: one.name, attributes: { value: String(one.id) } }));
    find("class-into").replaceChildren(element("option", { text: "No other class", attributes: { value: "" } }), ...choices);
    find("class-void").checked = Boolean(this.store.classOf(id).is_void);
    this.showParts(id);
    const digits = Array.from({ length: NUM_KEYS }, (_, place) => String(place + 1));
    find("class-key").replaceChildren(...["", ...digits].map((digit) => element("option", { text: digit || "None", attributes: { value: digit } })));
    find("class-key").value = String(this.keyOf(id) ?? "");
    this.dialog.showModal();
    find("class-name").select();
  }

  // The classes that were merged into one, each with a button that splits it off again.
  showParts(id) {
    const parts = this.store.state.classes.filter((one) => one.merged_into !== null && this.store.resolve(one.id)?.id === id);
    const rows = parts.map((one) => {
      const split = () => { this.store.act("/api/classes", { action: "split", id: one.id }); this.dialog.close(); };
      const attributes = { type: "button", title: `Let the marks of ${one.name} count for itself again` };
      return element("li", {}, swatch(one.color), element("span", { classes: "name", text: one.name }), element("button", { classes: "text", text: "Split off", attributes, on: { click: split } }));
    });
    find("class-parts").replaceChildren(...rows);
  }

  // A class that nothing has is deleted at once; of another one it is asked what becomes of its marks. The server
  // refuses a locked one.
  askToDelete() {
    this.dialog.close();
    if (this.isGone()) return;
    const { id, name, num_marks: count, is_imported: isImported, is_locked: isLocked } = this.store.classOf(this.edited);
    // Marks that wait in this page are of it, too.
    const waiting = this.store.queue.filter(({ body }) => this.store.resolve(body.mark?.class_id ?? body.class_id)?.id === id).length;
    if (isLocked || !(count + waiting || isImported)) {
      this.store.act("/api/classes", { action: "delete", id, with_marks: false });
      return;
    }
    const marks = count + waiting === 1 ? "1 mark is" : `${count + waiting} marks are`;
    this.asked = count + waiting; // more are not deleted: others may mark meanwhile
    find("delete-title").textContent = `Delete ${name}`;
    find("delete-note").textContent = `${[...(count + waiting ? [marks] : []), ...(isImported ? ["imported labels are"] : [])].join(", and ")} of this class.`;
    const others = this.store.classes.filter((one) => one.id !== id && typeof one.id === "number");
    const choices = others.map((one) => element("option", { text: `become ${one.name}`, attributes: { value: String(one.id) } }));
    find("delete-into").replaceChildren(element("option", { text: "are taken away", attributes: { value: "" } }), ...choices);
    find("delete-dialog").showModal();
  }

  deleteAsked() {
    if (this.isGone()) return;
    const into = find("delete-into").value;
    const id = this.edited;
    if (into === "") this.store.act("/api/classes", { action: "delete", id, with_marks: true, num_marks: this.asked });
    else {
      this.store.act("/api/classes", { action: "merge", id, into: Number(into) });
      if (this.look.chosen === id) this.choose(Number(into));
    }
  }

  // Whether somebody has deleted the class of the dialog meanwhile, which is then said.
  isGone() {
    const isGone = !this.store.classOf(this.edited);
    if (isGone) this.store.emit("error", "The class of the dialog has been deleted meanwhile; nothing was changed.");
    return isGone;
  }

  save() {
    if (this.isGone()) return;
    const id = this.edited;
    const before = this.store.classOf(id);
    const name = find("class-name").value.trim().replace(/\s+/g, " ");
    const color = find("class-color").value;
    const into = find("class-into").value;
    const key = find("class-key").value;
    if (key && Number(key) !== this.keyOf(id)) this.assignKey(id, Number(key));
    if (name && name !== before.name) this.store.act("/api/classes", { action: "rename", id, name });
    if (color !== before.color) this.store.act("/api/classes", { action: "recolor", id, color });
    const isVoid = find("class-void").checked;
    if (isVoid !== Boolean(before.is_void)) this.store.act("/api/classes", { action: "void", id, is_void: isVoid });
    if (into !== "") {
      this.store.act("/api/classes", { action: "merge", id, into: Number(into) });
      if (this.look.chosen === id) this.choose(Number(into));
    }
  }
}
