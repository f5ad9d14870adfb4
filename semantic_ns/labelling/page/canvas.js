// The picture with its labels: what is where on the screen, and how it is drawn.
//
// Everything is kept in pixels of the image; only `draw` knows the screen. So strokes stay in place at any zoom.

import { NOTHING, VOID } from "./store.js";

const MARGIN = 20;
const LARGEST_SCALE = 64;
const [FAINT_ALPHA, FULL_ALPHA] = [56, 190]; // of 255, by confidence; the borders of labels are drawn in full
const UNSURE = 0.6 * 255;
const NUM_PICTURES = 12;
const NUM_MASKS = 16;

export class View {
  constructor(canvas, store, look) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.store = store;
    this.look = look; // {opacity, highlight, only, hidden, color()}
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    this.isFitted = true;
    this.pictures = new Map();
    this.picture = null;
    this.field = null; // what the field says, which is set later
    this.free = null; // the picture of the free view, in the place of a frame
    this.overlay = new OffscreenCanvas(1, 1);
    this.stripes = new OffscreenCanvas(1, 1);
    this.region = null;
    this.question = null; // {frame, picture, disc} of what is asked for; the disc {x, y, radius, text} is what its answer marks, if it is one
    this.borders = null;
    this.sketch = null; // what is being drawn: a mark without a number
    this.pointer = null; // {x, y} in the image, where the pointer is over it
    this.cursorRadius = 0;
    this.drawn = [];
    this.masks = new Map(); // of marks that wait: pixels by their run lengths
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.request());
    this.resize();
  }

  get frame() {
    return this.free ?? this.store.state.frames[this.store.shown];
  }

  get layer() {
    return this.free ?? this.field?.layer ?? this.store.layers.get(this.store.shown);
  }

  // Where things are

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    const ratio = devicePixelRatio;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.store.state && this.isFitted) this.fit();
    this.draw();
    if (this.ratio !== ratio) {
      this.ratio = ratio;
      matchMedia(`(resolution: ${ratio}dppx)`).addEventListener("change", () => this.resize(), { once: true });
    }
  }

  fit() {
    const { width, height } = this.frame;
    const margin = this.free ? 0 : MARGIN;
    this.scale = Math.max(0.01, Math.min((this.width - 2 * margin) / width, (this.height - 2 * margin) / height));
    this.left = (this.width - width * this.scale) / 2;
    this.top = (this.height - height * this.scale) / 2;
    this.isFitted = true;
    this.request();
    this.store.emit("hover");
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    this.zoomTo(this.scale * factor, x, y);
  }

  zoomTo(scale, x = this.width / 2, y = this.height / 2) {
    const least = Math.min(0.5, 60 / Math.max(this.frame.width, this.frame.height));
    if (this.free) return;
    scale = Math.min(LARGEST_SCALE, Math.max(least, scale));
    this.left = x - ((x - this.left) / this.scale) * scale;
    this.top = y - ((y - this.top) / this.scale) * scale;
    this.scale = scale;
    this.keepInSight();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.keepInSight();
  }

  keepInSight() {
    if (this.free) return;
    const rest = 40;
    this.left = Math.min(this.width - rest, Math.max(rest - this.frame.width * this.scale, this.left));
    this.top = Math.min(this.height - rest, Math.max(rest - this.frame.height * this.scale, this.top));
    this.isFitted = false;
    this.request();
    this.store.emit("hover");
  }

  // A place on the screen in pixels of the image.
  toImage(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    return { x: (clientX - box.left - this.left) / this.scale, y: (clientY - box.top - this.top) / this.scale };
  }

  // A place of the image on the screen.
  toScreen(x, y) {
    const box = this.canvas.getBoundingClientRect();
    return { x: box.left + this.left + x * this.scale, y: box.top + this.top + y * this.scale };
  }

  isInside({ x, y }) {
    return x >= 0 && y >= 0 && x < this.frame.width && y < this.frame.height;
  }

  at(layer, { x, y }) {
    return layer && this.isInside({ x, y }) ? layer[Math.floor(y) * this.frame.width + Math.floor(x)] : undefined;
  }

  labelAt(place) {
    return this.at(this.layer?.labels, place) ?? NOTHING;
  }

  // What is drawn

  async showPicture() {
    const shown = this.store.shown;
    this.picture = this.pictures.get(shown) ?? null;
    this.request();
    try {
      const picture = await this.load(shown);
      if (this.store.shown === shown) this.picture = picture;
      this.request();
      for (const next of [shown + 1, shown - 1]) if (this.store.state.frames[next]) await this.load(next);
    } catch (error) {
      if (this.store.shown === shown) this.store.emit("error", `The image cannot be loaded. ${error.message}`);
    }
  }

  async load(frame) {
    if (!this.pictures.has(frame)) {
      const answer = await this.store.ask(this.store.imageAddress(frame));
      const picture = await createImageBitmap(await answer.blob());
      this.pictures.set(frame, picture);
      for (const old of this.pictures.keys()) {
        if (this.pictures.size <= NUM_PICTURES) break;
        if (old !== this.store.shown) this.pictures.delete(old);
      }
    }
    return this.pictures.get(frame);
  }

  // Colour the labels. It costs the same for one mark and for a thousand.
  colorLabels() {
    const { width, height } = this.frame;
    const { layer } = this;
    const image = new ImageData(width, height);
    const stripes = new ImageData(width, height);
    if (layer && layer.labels.length === width * height) {
      const pixels = new Uint32Array(image.data.buffer);
      this.fillColors(pixels, layer, width, height);
      this.fillStripes(new Uint32Array(stripes.data.buffer), pixels, layer, width);
    }
    for (const [canvas, data] of [[this.overlay, image], [this.stripes, stripes]]) {
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      canvas.getContext("2d").putImageData(data, 0, 0);
    }
    this.request();
  }

  // What is sure is strong, and what was only reached from far away is faint.
  fillColors(pixels, { labels, confidence }, width, height) {
    const table = this.colorTable();
    const alphas = Uint32Array.from({ length: 256 }, (_, value) => Math.round(FAINT_ALPHA + ((FULL_ALPHA - FAINT_ALPHA) * value) / 255) << 24);
    for (let row = 0, at = 0; row < height; row++) {
      for (let column = 0; column < width; column++, at++) {
        const label = labels[at];
        if (label < 0) continue;
        const isBorder = (column + 1 < width && labels[at + 1] !== label) || (row + 1 < height && labels[at + width] !== label);
        const color = table[label];
        if (color) pixels[at] = (color & 0xffffff) | (isBorder ? 0xff000000 : alphas[confidence ? confidence[at] : 255]);
      }
    }
  }

  // Colours as canvases hold them: red in the lowest byte.
  colorTable() {
    const table = [];
    for (const { id } of this.store.state.classes) {
      const found = this.store.resolve(id);
      if (found && (!this.look.only || found.id === this.look.chosen)) table[id] = (parseColor(found.color) | 0xff000000) >>> 0;
    }
    return table;
  }

  fillStripes(stripes, pixels, { labels, confidence }, width) {
    const mode = this.look.highlight;
    for (let at = 0; at < labels.length; at++) {
      const isVoid = labels[at] === VOID;
      const isMissing = mode !== "none" && labels[at] === NOTHING;
      const isUnsure = mode === "unsure" && labels[at] >= 0 && confidence && confidence[at] < UNSURE;
      if (!isVoid && !isMissing && !isUnsure) continue;
      const isStripe = ((at % width) + Math.floor(at / width)) % 6 < 3;
      if (isVoid) stripes[at] = isStripe ? 0xd0202020 : 0xd0808080;
      else stripes[at] = isStripe ? 0xd0ff30ff : 0;
    }
  }

  request() {
    if (this.isRequested) return;
    this.isRequested = true;
    requestAnimationFrame(() => {
      this.isRequested = false;
      this.draw();
    });
  }

  draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.fillStyle = getComputedStyle(canvas.parentElement).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.store.state) return;
    const ratio = devicePixelRatio;
    context.setTransform(this.scale * ratio, 0, 0, this.scale * ratio, this.left * ratio, this.top * ratio);
    const { width, height } = this.frame;
    context.imageSmoothingEnabled = this.scale * ratio < 4;
    context.imageSmoothingQuality = "high";
    const picture = this.free?.picture ?? this.picture;
    if (picture) context.drawImage(picture, 0, 0, width, height);
    if (!this.look.hidden) this.drawLabels(width, height);
    this.drawCursor();
    for (const done of this.drawn.splice(0)) done();
  }

  drawLabels(width, height) {
    const { context } = this;
    context.imageSmoothingEnabled = this.scale * devicePixelRatio < 1;
    context.globalAlpha = this.look.opacity;
    context.drawImage(this.overlay, 0, 0, width, height);
    context.globalAlpha = 1;
    context.drawImage(this.stripes, 0, 0, width, height);
    if (this.borders) {
      context.globalAlpha = 0.35;
      context.drawImage(this.borders, 0, 0, width, height);
    }
    if (this.question?.frame === this.store.shown && !this.free) this.drawQuestion(this.question, width, height);
    if (this.region) {
      context.globalAlpha = 0.65;
      context.drawImage(this.region, 0, 0, width, height);
    }
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    for (const { path, body } of this.store.queue)
      if (path === "/api/marks" && (this.free ? body.view === this.free.asked : !body.view && body.mark.frame === this.store.shown)) this.drawMark(body.mark);
    context.restore();
    if (this.sketch) this.drawMark(this.sketch);
    context.globalAlpha = 1;
  }

  drawMark({ class_id, action, shape, isOpen }) {
    const { context } = this;
    const color = action === "paint" ? this.store.resolve(class_id)?.color ?? "#888888" : action === "erase" ? "#ffffff" : "#505050";
    context.globalAlpha = action === "erase" ? 0.6 : Math.max(0.35, this.look.opacity * 0.85);
    context.fillStyle = context.strokeStyle = color;
    context.lineCap = context.lineJoin = "round";
    if (shape.kind === "click") {
      context.beginPath();
      context.arc(shape.x, shape.y, shape.radius, 0, 2 * Math.PI);
      context.fill();
    } else if (shape.kind === "region") {
      const picture = this.regionPicture(shape.region_ids, color);
      if (picture) context.drawImage(picture, 0, 0, this.frame.width, this.frame.height);
    } else if (shape.kind === "mask") {
      const mask = this.masks.get(shape.runs);
      if (mask && !this.free) context.drawImage(this.maskPicture(mask, color), 0, 0, this.frame.width, this.frame.height);
    } else if (shape.points.length) {
      const line = linePath(shape.points);
      if (shape.kind === "stroke") {
        context.lineWidth = 2 * shape.radius;
        context.stroke(line);
      } else if (isOpen) {
        this.drawPolygon(shape.points, line, color);
      } else {
        context.fill(line);
      }
    }
  }

  drawPolygon(points, line, color) {
    const { context } = this;
    const pixel = 1 / this.scale;
    context.globalAlpha = 0.3;
    context.fill(line);
    context.globalAlpha = 1;
    for (const [style, thickness] of [["#000000", 4], ["#ffffff", 2.5]]) {
      context.strokeStyle = style;
      context.lineWidth = thickness * pixel;
      context.stroke(line);
    }
    points.slice(0, -1).forEach(([x, y], number) => {
      context.beginPath();
      context.arc(x, y, (number ? 3.5 : 5.5) * pixel, 0, 2 * Math.PI);
      context.fillStyle = color;
      context.fill();
      context.lineWidth = 1.5 * pixel;
      context.strokeStyle = "#ffffff";
      context.stroke();
    });
  }

  drawQuestion({ picture, disc }, width, height) {
    this.context.drawImage(picture, 0, 0, width, height);
    if (!disc) return;
    this.drawRing(disc.x, disc.y, disc.radius);
    this.drawText(disc.text, disc.x, disc.y - disc.radius);
  }

  // Above a place of the image, of one size at any zoom.
  drawText(text, x, y) {
    const { context } = this;
    const pixel = 1 / this.scale;
    context.font = `600 ${14 * pixel}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.lineJoin = "round";
    context.lineWidth = 3 * pixel;
    context.strokeStyle = "#000000";
    context.fillStyle = "#ffffff";
    context.strokeText(text, x, y - 3 * pixel);
    context.fillText(text, x, y - 3 * pixel);
  }

  drawRing(x, y, radius) {
    const { context } = this;
    const pixel = 1 / this.scale;
    for (const [style, shift] of [["#000000", 1], ["#ffffff", 0]]) {
      context.beginPath();
      context.arc(x, y, radius + shift * pixel, 0, 2 * Math.PI);
      context.strokeStyle = style;
      context.lineWidth = 1.25 * pixel;
      context.stroke();
    }
  }

  drawCursor() {
    if (!this.pointer || !this.cursorRadius) return;
    const { context } = this;
    const pixel = 1 / this.scale;
    this.drawRing(this.pointer.x, this.pointer.y, this.cursorRadius);
    context.beginPath();
    context.arc(this.pointer.x, this.pointer.y, 1.25 * pixel, 0, 2 * Math.PI);
    context.fillStyle = "#ffffff";
    context.fill();
  }

  // Masks

  keepMask(runs, mask) {
    this.masks.set(runs, mask);
    while (this.masks.size > NUM_MASKS) this.masks.delete(this.masks.keys().next().value);
  }

  maskPicture(mask, color) {
    const value = (parseColor(color) | 0xff000000) >>> 0;
    return painted(this.frame.width, this.frame.height, (at) => (mask[at] ? value : 0));
  }

  parseColor(text) {
    return parseColor(text);
  }

  // Regions

  setRegions(map) {
    this.regionMap = map;
    this.borders = null;
    this.region = null;
    if (map) {
      const { width, height } = this.frame;
      this.borders = painted(width, height, (at, column) => {
        const isBorder = (column + 1 < width && map[at + 1] !== map[at]) || (at + width < map.length && map[at + width] !== map[at]);
        return isBorder ? 0xffffffff : 0;
      });
    }
    this.request();
  }

  regionPicture(ids, color) {
    if (!this.regionMap) return null;
    const wanted = new Set(ids);
    const value = (parseColor(color) | 0xff000000) >>> 0;
    return painted(this.frame.width, this.frame.height, (at) => (wanted.has(this.regionMap[at]) ? value : 0));
  }

  showRegion(id, color) {
    this.region = id === undefined ? null : this.regionPicture([id], color);
    this.request();
  }

  // Call when what is known now is on the screen.
  afterDraw(done) {
    this.drawn.push(() => requestAnimationFrame(done));
    this.request();
  }
}

export function painted(width, height, colorOf) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let row = 0, at = 0; row < height; row++) for (let column = 0; column < width; column++, at++) pixels[at] = colorOf(at, column);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// What is not asked for darkened, with a border around what is: `isIn` tells that of a pixel, counted row by row.
export function spotlight(width, height, isIn) {
  return painted(width, height, (at, x) => {
    if (isIn(at)) return 0;
    const isNear = (x > 0 && isIn(at - 1)) || (x + 1 < width && isIn(at + 1)) || (at >= width && isIn(at - width)) || (at + width < width * height && isIn(at + width));
    return isNear ? 0xffffffff : 0x60000000;
  });
}

function linePath(points) {
  const path = new Path2D();
  path.moveTo(...points[0]);
  for (const point of points) path.lineTo(...point);
  return path;
}

function parseColor(text) {
  const value = parseInt(text.slice(1), 16);
  return ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16);
}
