// The view: which events and addresses are shown, what is chosen, and how both are told in the address of the page.

const view = {
  from: 0, to: 1,
  low: 0, high: 1,
  byTime: false, byLabel: false,
  hover: null, pinned: null, block: -1, chosen: -1,
  hits: null, query: "",
};

// Where on the horizontal axis an event lies: events or microseconds.
function position(data, event) {
  return view.byTime ? data.times[Math.min(data.events, Math.max(0, Math.floor(event)))] : event;
}

function eventAt(data, position) {
  if (!view.byTime) return Math.max(0, Math.min(data.events - 1, Math.floor(position)));
  return Math.max(0, Math.min(data.events - 1, lastAtMost(data.times, position)));
}

function wholeRange(data) {
  return view.byTime ? [data.times[0], Math.max(data.times[data.events], data.times[0] + 1)] : [0, data.events];
}

function showWhole(data) {
  [view.from, view.to] = wholeRange(data);
  [view.low, view.high] = [0, data.height];
}

function setRange(data, from, to) {
  const [first, last] = wholeRange(data), least = view.byTime ? 0.05 : 8;
  let width = Math.min(last - first, Math.max(least, to - from));
  const middle = (from + to) / 2;
  from = Math.min(Math.max(first, middle - width / 2), last - width);
  [view.from, view.to] = [from, from + width];
}

function zoom(data, factor, around) {
  setRange(data, around - (around - view.from) * factor, around + (view.to - around) * factor);
}

function zoomAddresses(data, factor, around) {
  const width = Math.min(data.height, Math.max(4, (view.high - view.low) * factor));
  const low = around - (around - view.low) * (width / (view.high - view.low));
  moveAddresses(data, low, width);
}

function moveAddresses(data, low, width) {
  view.low = Math.min(Math.max(0, low), data.height - width);
  view.high = view.low + width;
}

// The other axis, on the same events.
function switchAxis(data, byTime) {
  if (view.byTime === byTime) return;
  const [first, last] = [eventAt(data, view.from), eventAt(data, view.to)];
  const whole = view.to - view.from >= (wholeRange(data)[1] - wholeRange(data)[0]) * 0.999;
  view.byTime = byTime;
  if (whole) [view.from, view.to] = wholeRange(data);
  else setRange(data, position(data, first), position(data, last + 1));
}

// The event that everything beside the charts is about: held, under the cursor, or the fullest in view.
function moment(data) {
  if (view.pinned !== null) return view.pinned;
  if (view.hover !== null) return view.hover;
  if (data.peakAt >= eventAt(data, view.from) && data.peakAt <= eventAt(data, view.to)) return data.peakAt;
  const first = eventAt(data, view.from), last = eventAt(data, view.to);
  let fullest = first;
  for (let event = first; event <= last; event++) if (data.total[event] > data.total[fullest]) fullest = event;
  return fullest;
}

// A query is words in a label, `tag:NAME`, or a size with `>` or `<` before it; all of them have to hold.
function search(data, query) {
  view.query = query.trim();
  if (view.query === "") {
    view.hits = null;
    return;
  }
  const { meta, label, look, bytes, count } = data;
  let tests = [];
  for (const word of view.query.toLowerCase().split(/\s+/)) {
    const bound = /^([<>])([0-9.]+)\s*([kmgt]?)(i?b)?$/.exec(word);
    if (word.startsWith("tag:")) {
      const wanted = meta.tags.map((tag) => tag.startsWith(word.slice(4)));
      tests.push((i) => wanted[look[i] & 15]);
    } else if (bound) {
      const limit = Number(bound[2]) * 1024 ** " kmgt".indexOf(bound[3] || " ");
      tests.push(bound[1] === ">" ? (i) => bytes[i] > limit : (i) => bytes[i] < limit);
    } else {
      const wanted = meta.labels.map((text) => text.toLowerCase().includes(word) || family(text).toLowerCase().includes(word));
      tests.push((i) => wanted[label[i]]);
    }
  }
  view.hits = new Uint8Array(count);
  view.hitCount = 0;
  for (let i = 0; i < count; i++) {
    if (tests.every((test) => test(i))) {
      view.hits[i] = 1;
      view.hitCount++;
    }
  }
}

// What a link to this view says behind its `#`: from, to, at, find, axis, color.
function readLink(data) {
  const link = new URLSearchParams(location.hash.slice(1));
  if (link.get("axis") === "time") switchAxis(data, true);
  if (link.get("color") === "label") view.byLabel = true;
  const number = (name) => link.has(name) && Number.isFinite(Number(link.get(name))) ? Number(link.get(name)) : null;
  const [from, to, at] = [number("from"), number("to"), number("at")];
  if (from !== null && to !== null && to > from) setRange(data, position(data, from), position(data, to));
  if (at !== null) view.pinned = Math.max(0, Math.min(data.events - 1, at));
  if (link.has("find")) search(data, link.get("find"));
}

let linkTimer = 0;
function writeLink(data) {
  clearTimeout(linkTimer);
  linkTimer = setTimeout(() => {
    const link = new URLSearchParams(), [first, last] = wholeRange(data);
    if (view.from > first || view.to < last) {
      link.set("from", eventAt(data, view.from));
      link.set("to", eventAt(data, view.to));
    }
    if (view.pinned !== null) link.set("at", view.pinned);
    if (view.query) link.set("find", view.query);
    if (view.byTime) link.set("axis", "time");
    if (view.byLabel) link.set("color", "label");
    const hash = link.toString();
    history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
  }, 300);
}
