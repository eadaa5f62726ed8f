// Drawing: every chart from the data and the view alone. Boxes are set pixel by pixel, so that half a million of them
// take a few milliseconds, whatever is shown.

const LEFT = 74;
let colors = {};

function readColors(data) {
  const style = getComputedStyle(document.documentElement), read = (name) => style.getPropertyValue(name).trim();
  colors = { css: {} };
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  for (const name of ["paper", "panel", "ink", "faint", "line", "grid", "free", "reserved", "limit", "hit", "shade", "retiring"]) {
    colors.css[name] = read("--" + name);
  }
  const rgb = (css) => {
    probe.fillStyle = css;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  colors.tags = data.meta.tags.map((_, i) => read("--tag" + i));
  colors.paper = rgb(colors.css.paper);
  colors.free = word(rgb(colors.css.free));
  const families = new Map();
  colors.family = data.meta.labels.map((label) => {
    const name = family(label);
    if (!families.has(name)) families.set(name, families.size);
    return families.get(name);
  });
  colors.hue = (label) => `hsl(${(colors.family[label] * 137.5 + 232) % 360} 48% ${matchMedia("(prefers-color-scheme: dark)").matches ? 60 : 52}%)`;
  // Of each tag and each label: as it is, retiring, not searched for, its edge.
  const shades = (css) => {
    const full = rgb(css), mixed = (part) => full.map((c, i) => Math.round(c * part + colors.paper[i] * (1 - part)));
    return [word(full), word(mixed(0.38)), word(mixed(0.13)), word(full.map((c) => Math.round(c * 0.72)))];
  };
  colors.byTag = colors.tags.map(shades);
  const known = new Map();
  colors.byLabel = data.meta.labels.map((_, label) => {
    const family = colors.family[label];
    if (!known.has(family)) known.set(family, shades(colors.hue(label)));
    return known.get(family);
  });
}

function word([r, g, b]) {
  return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
}

function colorOf(data, i) {
  return view.byLabel ? colors.hue(data.label[i]) : colors.tags[data.look[i] & 15];
}

// A canvas at the resolution of the screen.
function canvas(id) {
  const element = document.getElementById(id), ratio = window.devicePixelRatio || 1;
  const width = Math.max(LEFT + 20, element.clientWidth), height = Math.max(10, element.clientHeight);
  if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
  }
  const context = element.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '11px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
  return { element, context, width, height, ratio };
}

function xOf(data, width, event) {
  return LEFT + (position(data, event) - view.from) / (view.to - view.from) * (width - LEFT);
}

// For each column of pixels the event in it at which most is live, and where the column's events begin.
function columns(data, width, from, to) {
  const pixels = Math.max(1, Math.floor(width)), first = new Uint32Array(pixels + 1), fullest = new Uint32Array(pixels);
  for (let x = 0; x <= pixels; x++) {
    const at = from + (to - from) * x / pixels;
    first[x] = eventAt(data, at);
  }
  for (let x = 0; x < pixels; x++) {
    let most = first[x];
    for (let event = first[x] + 1; event < first[x + 1]; event++) if (data.total[event] > data.total[most]) most = event;
    fullest[x] = most;
  }
  return { pixels, first, fullest };
}

function niceStep(most, parts) {
  const rough = Math.max(1, most / parts);
  return 2 ** Math.ceil(Math.log2(rough));
}

function ceiling(data) {
  const held = Math.max(data.peak, data.peakReserved, 1), limit = data.meta.limit;
  // A limit far above everything would leave nothing to see; it is told in the corner then.
  return limit !== null && limit < held * 1.6 ? Math.max(held, limit) * 1.06 : held * 1.08;
}

function drawStrip(data) {
  const { context, width, height } = canvas("strip"), [first, last] = wholeRange(data);
  const inner = width - LEFT, { pixels, fullest } = columns(data, inner, first, last), top = ceiling(data);
  context.fillStyle = colors.css.grid;
  context.fillRect(LEFT, 0, inner, height);
  context.fillStyle = colors.css.retiring;
  for (let x = 0; x < pixels; x++) {
    const h = data.total[fullest[x]] / top * (height - 2);
    context.fillRect(LEFT + x, height - h, 1, h);
  }
  context.fillStyle = colors.css.limit;
  for (const i of data.refusals) {
    const x = LEFT + (position(data, data.markAt[i]) - first) / (last - first) * inner;
    context.fillRect(x - 0.75, 0, 1.5, height);
  }
  const [a, b] = [view.from, view.to].map((at) => LEFT + (at - first) / (last - first) * inner);
  context.fillStyle = colors.css.shade;
  context.fillRect(a, 0, Math.max(2, b - a), height);
  context.strokeStyle = colors.css.hit;
  context.strokeRect(a + 0.5, 0.5, Math.max(2, b - a) - 1, height - 1);
}

function drawUsage(data) {
  const { context, width, height } = canvas("usage"), inner = width - LEFT, top = ceiling(data);
  const y = (bytes) => height - 1 - bytes / top * (height - 6);
  const step = niceStep(top, height / 34);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let bytes = 0; bytes < top; bytes += step) {
    context.fillStyle = colors.css.grid;
    context.fillRect(LEFT, Math.round(y(bytes)), inner, 1);
    context.fillStyle = colors.css.faint;
    context.fillText(bytes === 0 ? "0" : size(bytes), LEFT - 8, Math.min(height - 6, Math.max(8, y(bytes))));
  }
  const { pixels, fullest } = columns(data, inner, view.from, view.to), base = new Float64Array(pixels);
  const area = (values, fill) => {
    context.beginPath();
    for (let x = 0; x < pixels; x++) {
      const low = y(base[x]);
      base[x] += values[fullest[x]];
      const high = y(base[x]);
      if (low - high > 0.2) context.rect(LEFT + x, high, 1.02, low - high);
    }
    context.fillStyle = fill;
    context.fill();
  };
  data.live.forEach((values, tag) => area(values, colors.tags[tag]));
  area(data.retiring, hatch(context));
  line(context, data, inner, y);
  const limit = data.meta.limit;
  if (limit !== null) {
    context.fillStyle = context.strokeStyle = colors.css.limit;
    if (limit <= top) {
      context.setLineDash([6, 4]);
      context.beginPath();
      context.moveTo(LEFT, y(limit));
      context.lineTo(width, y(limit));
      context.stroke();
      context.setLineDash([]);
    }
    context.textAlign = "left";
    context.fillText(`limit ${size(limit)}${limit <= top ? "" : " is above"}`, LEFT + 6, limit <= top ? y(limit) + 9 : 9);
  }
  cursor(data, context, width, height);
}

// What was reserved, as steps.
function line(context, data, inner, y) {
  if (data.peakReserved === 0) return;
  context.beginPath();
  const { first } = columns({ ...data, total: data.retiring }, inner, view.from, view.to);
  let last = y(reservedAt(data, first[0]));
  context.moveTo(LEFT, last);
  for (let x = 0; x + 1 < first.length; x++) {
    const now = y(reservedAt(data, Math.max(first[x], first[x + 1] - 1)));
    if (now !== last) {
      context.lineTo(LEFT + x, last);
      context.lineTo(LEFT + x, now);
      last = now;
    }
  }
  context.lineTo(LEFT + inner, last);
  context.strokeStyle = colors.css.reserved;
  context.lineWidth = 1.4;
  context.stroke();
  context.lineWidth = 1;
}

let hatching = null;
function hatch(context) {
  if (hatching === null || hatching.of !== colors.css.retiring) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const draw = tile.getContext("2d");
    draw.strokeStyle = colors.css.retiring;
    draw.lineWidth = 1.6;
    for (const shift of [-6, 0, 6]) {
      draw.moveTo(shift - 1, 7);
      draw.lineTo(shift + 7, -1);
    }
    draw.stroke();
    hatching = { of: colors.css.retiring, tile };
  }
  return context.createPattern(hatching.tile, "repeat");
}

function cursor(data, context, width, height) {
  const at = view.pinned ?? view.hover;
  if (at === null) return;
  const x = xOf(data, width, at + (view.byTime ? 0 : 0.5));
  if (x < LEFT || x > width) return;
  context.fillStyle = view.pinned !== null ? colors.css.hit : colors.css.faint;
  context.fillRect(x - 0.5, 0, view.pinned !== null ? 1.5 : 1, height);
}

function drawMarks(data) {
  const { context, width, height } = canvas("marks");
  context.fillStyle = colors.css.faint;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillText("marks", LEFT - 8, height / 2);
  context.fillStyle = colors.css.grid;
  context.fillRect(LEFT, height - 1, width - LEFT, 1);
  const [first, last] = [eventAt(data, view.from), eventAt(data, view.to)];
  const styles = { [MAPPED]: [colors.css.ink, 9], [UNMAPPED]: [colors.css.retiring, 9], [TRIMMED]: [colors.tags[3], 15], [DRIVER_REFUSED]: [colors.css.limit, 15] };
  const drawn = new Set();
  for (let i = lastAtMost(data.markAt, first - 1) + 1; i < data.markAt.length && data.markAt[i] <= last; i++) {
    const style = styles[data.markKind[i]];
    if (!style) continue;
    const x = Math.round(xOf(data, width, data.markAt[i])), key = x * 8 + data.markKind[i];
    if (drawn.has(key)) continue;
    drawn.add(key);
    context.fillStyle = style[0];
    context.fillRect(x - 0.75, height - 1 - style[1], 1.5, style[1]);
  }
  context.fillStyle = colors.css.limit;
  for (const i of data.refusals) {
    if (data.markAt[i] < first || data.markAt[i] > last) continue;
    const x = xOf(data, width, data.markAt[i]);
    context.beginPath();
    context.moveTo(x, height - 1);
    context.lineTo(x - 6, 3);
    context.lineTo(x + 6, 3);
    context.fill();
  }
  cursor(data, context, width, height);
}

// Boxes of pixels, into an image.
function drawMap(data) {
  const { context, width, height, ratio } = canvas("map");
  const left = Math.round(LEFT * ratio), w = Math.round(width * ratio) - left, h = Math.round(height * ratio);
  const image = context.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
  const across = w / (view.to - view.from), down = h / (view.high - view.low);
  const xs = (event) => event === NEVER ? w : Math.max(0, Math.min(w, Math.round((position(data, event) - view.from) * across)));
  const fill = (x0, x1, y0, y1, color) => {
    for (let y = y0; y < y1; y++) pixels.fill(color, y * w + x0, y * w + x1);
  };
  // Rows from the top: the highest address is there.
  const rows = (low, len) => {
    const top = Math.round((view.high - low - len) * down), bottom = Math.round((view.high - low) * down);
    return [Math.max(0, top), Math.min(h, Math.max(bottom, top + 1))];
  };
  for (let i = 0; i < data.pageY.length; i++) {
    const [y0, y1] = rows(data.pageY[i], data.pageLen[i]), x0 = xs(data.pageFrom[i]), x1 = xs(data.pageTo[i]);
    if (data.pageY[i] !== NOWHERE && x1 > x0) fill(x0, x1, y0, y1, colors.free);
  }
  const [firstEvent, lastEvent] = [eventAt(data, view.from), eventAt(data, view.to)];
  const { start, freed, done, y: place, taken, label, look } = data, words = [];
  const shadesOf = view.byLabel ? (i) => colors.byLabel[label[i]] : (i) => colors.byTag[look[i] & 15];
  for (let i = 0; i < data.count && start[i] <= lastEvent; i++) {
    if (done[i] < firstEvent || place[i] === NOWHERE) continue;
    if (place[i] >= view.high || place[i] + taken[i] <= view.low) continue;
    const [y0, y1] = rows(place[i], taken[i]);
    const x0 = xs(start[i]), x1 = xs(freed[i]), x2 = Math.max(xs(done[i]), x1, Math.min(w, x0 + 1));
    if (x0 >= w) continue;
    const shades = shadesOf(i), dim = view.hits !== null && view.hits[i] === 0;
    if (x2 > x1) fill(x1, x2, y0, y1, shades[dim ? 2 : 1]);
    const solid = Math.min(w, Math.max(x1, x0 + 1));
    fill(x0, solid, y0, y1, shades[dim ? 2 : 0]);
    if (dim) continue;
    if (solid - x0 > 4 * ratio && y1 - y0 > 3 * ratio) {
      const edge = Math.max(1, Math.round(ratio * 0.6));
      fill(x0, x0 + edge, y0, y1, shades[3]);
      fill(x0, solid, y1 - edge, y1, shades[3]);
    }
    if (solid - x0 > 44 * ratio && y1 - y0 > 13 * ratio && words.length < 400) words.push([i, x0, solid, y0, y1]);
  }
  context.putImageData(image, left, 0);
  lettering(data, context, words, left, ratio);
  places(data, context, width, height);
  outline(data, context, width, height);
  cursor(data, context, width, height);
}

// Names in boxes that have room for them.
function lettering(data, context, words, left, ratio) {
  context.fillStyle = "#fff";
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const [i, x0, x1, y0, y1] of words) {
    const text = data.meta.labels[data.label[i]] || data.meta.tags[data.look[i] & 15], room = (x1 - x0) / ratio - 10;
    let shown = text;
    while (shown.length > 1 && context.measureText(shown).width > room) shown = shown.slice(0, -Math.max(1, Math.ceil(shown.length / 8)));
    if (shown.length < 3 && shown !== text) continue;
    context.fillText(shown === text ? text : shown + "…", (left + x0) / ratio + 6, (y0 + y1) / 2 / ratio);
  }
}

// Offsets at the side, and lines where addresses are left out.
function places(data, context, width, height) {
  const { bands, granule } = data.meta, y = (place) => (view.high - place) / (view.high - view.low) * height;
  context.fillStyle = colors.css.faint;
  context.strokeStyle = colors.css.faint;
  context.textAlign = "right";
  for (const [i, band] of bands.entries()) {
    const [bottom, top] = [y(band.y), y(band.y + band.granules)];
    if (bottom < 0 || top > height) continue;
    if (i > 0 && bottom < height) {
      context.setLineDash([2, 3]);
      context.beginPath();
      context.moveTo(LEFT, Math.round(bottom) + 0.5);
      context.lineTo(width, Math.round(bottom) + 0.5);
      context.stroke();
      context.setLineDash([]);
    }
    const step = niceStep((view.high - view.low) * granule, height / 40);
    const from = Math.max(0, Math.ceil((view.low - band.y) * granule / step) * step);
    for (let at = from; at < band.granules * granule; at += step) {
      const place = y(band.y + at / granule);
      if (place < -6) break;
      const first = i === 0 || bands[i - 1].region !== band.region;
      const text = at > 0 || bands.length === 1 ? size(band.offset + at) : first ? `region ${band.region}` : size(band.offset);
      if (bottom - place > 9 || at === 0) context.fillText(text, LEFT - 8, Math.min(height - 7, Math.max(7, place)));
    }
  }
}

function outline(data, context, width, height) {
  const i = view.chosen >= 0 ? view.chosen : view.block;
  if (i < 0 || data.y[i] === NOWHERE) return;
  const y = (place) => (view.high - place) / (view.high - view.low) * height;
  const x0 = Math.max(LEFT, xOf(data, width, data.start[i])), end = data.done[i] === NEVER ? data.events : data.done[i];
  const x1 = Math.max(x0 + 2, xOf(data, width, end)), y0 = y(data.y[i] + data.taken[i]), y1 = y(data.y[i]);
  context.strokeStyle = colors.css.ink;
  context.lineWidth = 1.5;
  context.strokeRect(x0 + 0.5, y0 + 0.5, x1 - x0 - 1, Math.max(2, y1 - y0 - 1));
  context.lineWidth = 1;
}

function drawAxis(data) {
  const { context, width } = canvas("axis"), inner = width - LEFT;
  const rough = (view.to - view.from) / Math.max(2, inner / 110), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough && (view.byTime || step >= 1)) || 1;
  context.fillStyle = colors.css.faint;
  context.textBaseline = "top";
  context.textAlign = "center";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const x = LEFT + (at - view.from) / (view.to - view.from) * inner;
    context.fillRect(Math.round(x), 0, 1, 5);
    const text = view.byTime ? duration(at) : grouped(at);
    if (x < width - 30) context.fillText(text, Math.max(LEFT + context.measureText(text).width / 2, x), 8);
  }
  context.textAlign = "right";
  context.fillText(view.byTime ? "time" : "event", LEFT - 8, 8);
}
