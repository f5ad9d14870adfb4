// Keys: one list for what they do and for the help.

import { element, find } from "./dom.js";

// `key` is KeyboardEvent.key; `shown` is what the help says. `held` keys also do something when they are let go.
export const KEYS = [
  ["Tools", [
    { key: "c", does: "click", says: "Point" },
    { key: "b", does: "stroke", says: "Brush" },
    { key: "p", does: "polygon", says: "Polygon" },
    { key: "r", does: "region", says: "Region fill" },
    { key: "m", does: "segment", says: "Mask at a point, by a network" },
    { key: "e", does: "erase", says: "Eraser, on and off" },
    { key: "v", does: "void", says: "Do not know (void), on and off" },
    { key: "[", does: "smaller", says: "Smaller brush" },
    { key: "]", does: "larger", says: "Larger brush" },
    { shown: ["Right button"], says: "Erase while drawing" },
    { shown: ["Enter", "Double click"], says: "Close the polygon" },
    { shown: ["Backspace"], says: "Remove its last corner" },
    { shown: ["Enter", "Click in it"], says: "Accept the mask that is proposed" },
    { shown: ["Shift", "Alt"], says: "Click: more of the mask, less of it" },
    { shown: ["Esc"], says: "Give up what is being drawn" },
  ]],
  ["Classes", [
    { shown: ["1", "–", "9"], says: "Choose a class" },
    { shown: ["Alt", "1", "–", "9"], says: "Give the chosen class a key" },
    { key: "/", does: "search", says: "Find or add a class" },
    { shown: ["Shift", "Enter"], says: "There: add it, although others fit" },
    { key: "i", does: "pick", says: "Choose the class under the pointer" },
    { key: "g", does: "confirm", says: "Confirm the label under the pointer" },
    { key: "o", does: "only", says: "Only this class, on and off" },
  ]],
  ["History", [
    { shown: ["Ctrl", "Z"], says: "Undo your last action" },
    { shown: ["Ctrl", "Shift", "Z"], says: "Redo" },
  ]],
  ["Frames", [
    { key: "ArrowLeft", shown: ["←"], does: "previous", says: "Previous frame" },
    { key: "ArrowRight", shown: ["→"], does: "next", says: "Next frame" },
    { key: "n", does: "unlabelled", says: "Next frame without marks" },
    { key: "f", does: "free", says: "Free view, on and off" },
    { shown: ["W", "A", "S", "D"], says: "Move in the free view" },
  ]],
  ["View", [
    { key: "h", shown: ["H held"], does: "hide", says: "The picture without labels" },
    { key: "+", does: "zoom-in", says: "Zoom in; forward in the free view" },
    { key: "-", does: "zoom-out", says: "Zoom out; back in the free view" },
    { key: "0", does: "zoom-fit", says: "Whole image" },
    { shown: ["Wheel", "Pinch"], says: "Zoom at the pointer" },
    { key: " ", shown: ["Space", "Drag"], does: "pan", says: "Move the image" },
    { shown: ["Middle button", "Two fingers"], says: "Move the image" },
    { key: "?", does: "help", says: "This help" },
  ]],
  ["Questions and regions", [
    { key: "j", does: "skip", says: "Next question of a run" },
    { key: "k", does: "skip-region", says: "Next region that is suggested" },
    { key: "y", does: "yes", says: "Answer with the class that is guessed" },
    { key: "u", does: "answer", says: "Answer with the chosen class" },
    { key: "t", does: "painted", says: "Answer with what is painted, else void" },
  ]],
  ["Without a mouse", [
    { shown: ["Shift", "Arrows"], says: "Move the pointer by one brush" },
    { shown: ["Alt", "Shift", "Arrows"], says: "Move it by one pixel" },
    { shown: ["Enter"], says: "Use the tool there, or add a corner" },
    { shown: ["Shift", "Enter"], says: "Close the polygon, as on its first corner" },
  ]],
];

const ACTIONS = new Map(KEYS.flatMap(([, keys]) => keys.filter((one) => one.key).map((one) => [one.key, one.does])));
ACTIONS.set("=", "zoom-in").set("_", "zoom-out");

export function keyOf(does) {
  const found = KEYS.flatMap(([, keys]) => keys).find((one) => one.does === does);
  return (found?.shown ?? [found?.key.toUpperCase()]).join("+");
}

export function fillHelp() {
  const columns = [[0, 1], [2, 3, 4, 5, 6]].map((groups) => {
    const column = element("div");
    for (const [title, keys] of groups.map((number) => KEYS[number])) {
      column.append(element("h3", { text: title }));
      for (const { key, shown, says } of keys) {
        const names = (shown ?? [key.toUpperCase()]).map((name) => element("kbd", { text: name }));
        column.append(element("div", {}, element("span", { text: says }), element("span", {}, ...names)));
      }
    }
    return column;
  });
  find("keys").replaceChildren(...columns);
}

// A letter without regard to Shift and Caps Lock; where a keyboard writes other letters (Greek, Russian), the Latin one
// of the key.
export function keyName({ key, code }) {
  if (key.length !== 1) return key;
  return key > "~" && /^Key[A-Z]$/.test(code) ? code.slice(3).toLowerCase() : key.toLowerCase();
}

// The digit 1 to 9 that a key stands for, else null: what it writes, or, where its row writes something else unless
// Shift is held (French, Czech), the key itself.
export function digitOf({ key, code, shiftKey }) {
  if (/^[1-9]$/.test(key)) return Number(key);
  if (key === "+" || key === "-") return null; // which zoom, and stand in this row there
  return /^Digit[1-9]$/.test(code) && !shiftKey ? Number(code.slice(5)) : null;
}

// Whether AltGr is held, with which keyboards write such signs as [ and ]. Windows says Ctrl and Alt are held then.
export function isThirdLevel(event) {
  return event.getModifierState("AltGraph") || (event.ctrlKey && event.altKey && event.key.length === 1 && !/^[a-z0-9 ]$/i.test(event.key));
}

function isTyping(target) {
  return target.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea") || document.querySelector("dialog[open]");
}

// Listen to keys: `actions` by what they do, `extra` sees each key first and says whether it took it.
export function listen(actions, extra) {
  addEventListener("keydown", (event) => {
    if (isTyping(event.target)) return;
    if (extra(event)) {
      event.preventDefault();
      return;
    }
    if ((event.ctrlKey || event.metaKey || event.altKey) && !isThirdLevel(event)) {
      const letter = keyName(event);
      if (event.altKey || !["z", "y"].includes(letter)) return;
      event.preventDefault();
      actions[letter === "y" || event.shiftKey ? "redo" : "undo"]();
      return;
    }
    const isOnControl = event.target.matches?.("button, input");
    if (event.key === " " && isOnControl && event.target.matches(":focus-visible")) return;
    if (event.key.startsWith("Arrow") && event.target.matches?.("input[type=range]")) return;
    const does = ACTIONS.get(keyName(event));
    if (!does || (event.shiftKey && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    actions[does](event);
  });
  addEventListener("keyup", (event) => {
    const does = ACTIONS.get(keyName(event));
    if (does === "hide" || does === "pan") actions[`${does}-end`]();
  });
  addEventListener("blur", () => ["hide-end", "pan-end"].forEach((one) => actions[one]()));
}
