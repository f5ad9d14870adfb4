// Small helpers. Text from people goes through `textContent` alone, so that a name is never read as HTML.

export const find = (id) => document.getElementById(id);

export function element(name, { text, classes, attributes = {}, on = {} } = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  made.append(...children);
  return made;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  picture.append(use);
  return picture;
}

export function swatch(color) {
  const made = element("span", { classes: "swatch" });
  made.style.background = color;
  return made;
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.floor(100 * share + 1e-9)} %`);

// `offer` is a button in it: {text, does}.
export function toast(sentence, kind = "error", { isLasting = false, offer = null } = {}) {
  const place = find("toasts");
  for (const old of place.children) if (old.dataset.sentence === sentence) old.remove();
  const made = element("div", { classes: `toast ${kind}`, attributes: { role: kind === "error" ? "alert" : "status" } });
  made.dataset.sentence = sentence;
  const close = element("button", { classes: "icon", attributes: { type: "button", "aria-label": "Close" }, on: { click: () => made.remove() } }, icon("close"));
  made.append(element("p", { text: sentence }));
  if (offer) made.append(element("button", { classes: "text", text: offer.text, attributes: { type: "button" }, on: { click: () => { made.remove(); offer.does(); } } }));
  made.append(close);
  place.append(made);
  while (place.children.length > 3) place.firstChild.remove();
  if (!isLasting) setTimeout(() => made.remove(), 10_000);
  return made;
}
