// From pointers and fingers to marks, and to zoom and pan.

const MAX_POINTS = 5000;
const CLOSE_PX = 10; // on the screen: how near the first corner closes a polygon
const LEAST_RADIUS = 0.5;
const MOST_RADIUS = 512;

export class Pointer {
  constructor(view, store, tool) {
    this.view = view;
    this.store = store;
    this.free = null; // the free view, and the masks that are proposed, which are set later
    this.segments = null;
    this.tool = tool; // {shape, mode, radius, clickRadius, chosen, report(sentence, kind)}
    this.touches = new Map();
    this.stroke = null;
    this.corners = null;
    this.filled = null;
    this.asked = null; // the picture of the free view that is drawn on
    this.isByKeys = false; // whether keys have moved the pointer last
    this.isSpaceHeld = false;
    const canvas = view.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancelPointer(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("dblclick", () => this.closePolygon());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("auxclick", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  get radius() {
    return this.tool.shape === "click" ? this.tool.clickRadius : this.tool.radius;
  }

  set radius(value) {
    const kept = Math.min(MOST_RADIUS, Math.max(LEAST_RADIUS, value));
    if (this.tool.shape === "click") this.tool.clickRadius = kept;
    else this.tool.radius = kept;
  }

  get hasRadius() {
    return this.tool.shape === "click" || this.tool.shape === "stroke";
  }

  get isDrawing() {
    return Boolean(this.stroke || this.corners);
  }

  // Pointers

  down(event) {
    this.isByKeys = false;
    this.view.canvas.focus({ preventScroll: true });
    this.view.canvas.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (this.touches.size === 2) {
        this.cancel();
        return;
      }
      if (this.touches.size > 2) return;
    }
    const isTurning = event.button === 2 && this.view.free;
    if (event.button === 1 || isTurning || (event.button === 0 && this.isSpaceHeld)) {
      event.preventDefault();
      this.panning = { x: event.clientX, y: event.clientY };
      this.updateCursor();
      return;
    }
    if (this.corners && event.button !== 0) return; // it stays a polygon of what it was begun with
    this.modifiers = { isAdded: event.shiftKey, isOutside: event.altKey };
    if (event.button === 0 || event.button === 2) this.begin(this.view.toImage(event.clientX, event.clientY), event.button === 2);
    this.modifiers = {};
  }

  begin(place, isErasing = false) {
    if (!this.isDrawing) this.asked = this.view.free?.asked ?? null;
    this.mode = isErasing ? "erase" : this.tool.mode;
    if (this.mode === "paint" && this.tool.chosen === null) {
      this.tool.report("Expected a class to paint with; choose one, or add one by typing its name.");
      return;
    }
    const isBrush = (isErasing && ["polygon", "segment"].includes(this.tool.shape)) || (this.view.free && ["region", "segment"].includes(this.tool.shape));
    const shape = isBrush ? "stroke" : this.tool.shape;
    if (shape === "polygon") this.addCorner(place);
    else if (shape === "region") this.addRegion(place);
    else if (shape === "segment") this.segments.click(place, this.modifiers);
    else if (shape === "click") this.send({ kind: "click", ...rounded(place), radius: this.radius }, place);
    else {
      this.stroke = [[place.x, place.y]];
      this.showStroke();
    }
  }

  move(event) {
    this.isByKeys = false;
    if (event.pointerType === "touch" && this.touches.size === 2) {
      this.pinch(event);
      return;
    }
    if (this.panning) {
      const [dx, dy] = [event.clientX - this.panning.x, event.clientY - this.panning.y];
      if (this.view.free) this.free.turn(dx, dy);
      else this.view.pan(dx, dy);
      this.panning = { x: event.clientX, y: event.clientY };
      return;
    }
    const place = this.view.toImage(event.clientX, event.clientY);
    this.hover(place);
    if (this.stroke) {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length ? events : [event]) this.extend(this.view.toImage(one.clientX, one.clientY));
    } else if (this.filled) {
      this.addRegion(place);
    }
  }

  extend({ x, y }) {
    const [lastX, lastY] = this.stroke.at(-1);
    const step = Math.min(2, Math.max(0.25, this.radius / 6));
    if (Math.hypot(x - lastX, y - lastY) < step) return;
    this.stroke.push([x, y]);
    if (this.stroke.length >= MAX_POINTS) {
      this.endStroke();
      this.stroke = [[x, y]];
    }
    this.showStroke();
  }

  up(event) {
    this.touches.delete(event.pointerId);
    if (this.panning) {
      this.panning = null;
      this.updateCursor();
    } else if (this.stroke) {
      this.extend(this.view.toImage(event.clientX, event.clientY));
      this.endStroke();
    } else if (this.filled) {
      this.endRegions();
    }
  }

  cancelPointer(event) {
    this.touches.delete(event.pointerId);
    this.cancel();
  }

  leave() {
    this.view.pointer = null;
    if (this.tool.shape === "region" && !this.filled) this.view.showRegion(undefined);
    this.view.request();
    this.store.emit("hover");
  }

  hover(place) {
    this.view.pointer = place;
    if (this.corners) this.showPolygon();
    if (this.tool.shape === "region" && !this.filled) this.hoverRegion(place);
    this.updateCursor();
    this.view.request();
    this.store.emit("hover");
  }

  updateCursor() {
    const isPanning = this.isSpaceHeld || this.panning;
    this.view.cursorRadius = this.hasRadius && !isPanning ? this.radius : 0;
    const isSmall = this.radius * this.view.scale < 3;
    const brush = isSmall ? "crosshair" : "none";
    this.view.canvas.style.cursor = this.panning ? "grabbing" : isPanning ? "grab" : this.hasRadius ? brush : "crosshair";
  }

  // Give up what is being drawn.
  cancel() {
    const had = [this.stroke || this.corners || this.filled, this.segments.drop()].some(Boolean);
    this.stroke = this.corners = this.filled = this.panning = this.view.sketch = null;
    this.view.region = null;
    this.view.request();
    this.free.resume();
    return had;
  }

  // Strokes

  mark(shape) {
    return { frame: this.store.shown, class_id: this.mode === "paint" ? this.tool.chosen : null, action: this.mode, shape };
  }

  showStroke() {
    this.view.sketch = this.mark({ kind: "stroke", points: this.stroke, radius: this.radius });
    this.view.request();
  }

  endStroke() {
    const points = this.stroke.map(([x, y]) => [round(x), round(y)]);
    this.stroke = this.view.sketch = null;
    this.send({ kind: "stroke", points, radius: this.radius });
    this.free.resume();
  }

  // Marks that lie outside of the image altogether say nothing, and are not sent.
  send(shape) {
    const { width, height } = this.view.frame;
    const reach = shape.radius ?? 0;
    const points = shape.kind === "click" ? [[shape.x, shape.y]] : shape.points;
    if (points) {
      const xs = points.map((one) => one[0]);
      const ys = points.map((one) => one[1]);
      const isOutside = Math.max(...xs) <= -reach || Math.min(...xs) >= width + reach || Math.max(...ys) <= -reach || Math.min(...ys) >= height + reach;
      if (isOutside) {
        this.view.request();
        return;
      }
    }
    const body = { mark: this.mark(shape) };
    if (this.asked) body.view = this.asked;
    this.store.act("/api/marks", body, performance.now());
  }

  // Polygons

  addCorner(place) {
    const first = this.corners?.[0];
    if (first && this.corners.length > 2 && Math.hypot(place.x - first[0], place.y - first[1]) * this.view.scale < CLOSE_PX) {
      this.closePolygon();
      return;
    }
    const last = this.corners?.at(-1);
    if (last && Math.hypot(place.x - last[0], place.y - last[1]) * this.view.scale < 2) return; // of a double click
    this.corners = [...(this.corners ?? []), [round(place.x), round(place.y)]];
    this.view.pointer = place;
    this.showPolygon();
  }

  showPolygon() {
    const { x, y } = this.view.pointer ?? {};
    const end = x === undefined ? this.corners.at(-1) : [x, y];
    this.view.sketch = { ...this.mark({ kind: "polygon", points: [...this.corners, end] }), isOpen: true };
    this.view.request();
  }

  removeCorner() {
    if (!this.corners) return false;
    this.corners.pop();
    if (this.corners.length) this.showPolygon();
    else this.cancel();
    return true;
  }

  closePolygon() {
    if (!this.corners) return false;
    const points = this.corners;
    this.corners = this.view.sketch = null;
    if (points.length > 2) this.send({ kind: "polygon", points });
    else this.view.request();
    this.free.resume();
    return true;
  }

  closeByKey() {
    const count = this.corners.length;
    if (count > 2) this.closePolygon();
    else this.tool.report(`Expected three corners or more to close the polygon, found ${count}; add more of them.`, "info");
  }

  // Regions

  color() {
    return this.tool.mode === "paint" ? this.store.resolve(this.tool.chosen)?.color ?? "#888888" : this.tool.mode === "erase" ? "#ffffff" : "#505050";
  }

  hoverRegion(place) {
    const region = this.view.at(this.view.regionMap, place);
    if (region === this.hovered && this.view.region) return;
    this.hovered = region;
    this.view.showRegion(region, this.color());
  }

  addRegion(place) {
    const region = this.view.at(this.view.regionMap, place);
    this.filled ??= new Set();
    if (region === undefined || this.filled.has(region)) return;
    this.filled.add(region);
    this.view.region = null;
    this.view.sketch = this.mark({ kind: "region", region_ids: [...this.filled] });
    this.view.request();
  }

  endRegions() {
    const region_ids = [...this.filled];
    this.filled = this.view.sketch = null;
    if (region_ids.length) this.send({ kind: "region", region_ids });
  }

  // Zoom and pan

  wheel(event) {
    event.preventDefault();
    if (this.view.free) {
      if (isTouchpad(event) && !event.ctrlKey) this.free.turn(-event.deltaX, -event.deltaY);
      else this.free.move(0, 0, -Math.sign(event.deltaY));
      return;
    }
    const box = this.view.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (event.ctrlKey || event.metaKey) this.view.zoom(Math.exp(-event.deltaY * (isTouchpad(event) ? 0.012 : 0.003)), x, y);
    else if (event.shiftKey && !event.deltaX) this.view.pan(-event.deltaY, 0);
    else if (isTouchpad(event)) this.view.pan(-event.deltaX, -event.deltaY);
    else this.view.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(0.25, 0.002 * Math.abs(pixels(event)))), x, y);
    this.hover(this.view.toImage(event.clientX, event.clientY));
  }

  pinch(event) {
    const before = [...this.touches.values()];
    this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const after = [...this.touches.values()];
    const box = this.view.canvas.getBoundingClientRect();
    const middle = (points) => ({ x: (points[0].x + points[1].x) / 2, y: (points[0].y + points[1].y) / 2 });
    const spread = (points) => Math.max(1, Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y));
    const [from, to] = [middle(before), middle(after)];
    if (this.view.free) {
      this.free.turn(to.x - from.x, to.y - from.y);
      this.free.move(0, 0, 8 * Math.log(spread(after) / spread(before)));
      return;
    }
    this.view.pan(to.x - from.x, to.y - from.y);
    this.view.zoom(spread(after) / spread(before), to.x - box.left, to.y - box.top);
  }
}

// A wheel moves in steps of 120 units; a touchpad moves by pixels, of which browsers make three units each.
function isTouchpad(event) {
  if (event.deltaMode !== 0) return false;
  if (event.deltaX) return true;
  return event.wheelDeltaY ? event.wheelDeltaY === -3 * event.deltaY : Math.abs(event.deltaY) < 50;
}

function pixels(event) {
  return event.deltaY * [1, 33, 400][event.deltaMode];
}

function round(value) {
  return Math.round(value * 100) / 100;
}

function rounded({ x, y }) {
  return { x: round(x), y: round(y) };
}
