// The data: unpacks what the page carries, and makes sums of it that drawing needs.

const NEVER = 0xffffffff, NOWHERE = 0xffffffff;
const REFUSED = 0, DRIVER_REFUSED = 1, TRIMMED = 2, MAPPED = 3, UNMAPPED = 4, SUBMITTED = 5, COMPLETED = 6, RESET = 7;

async function unpack() {
  const text = document.getElementById("data").textContent.trim();
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
  const kinds = { Uint8Array, Uint32Array, Float64Array };
  const data = { meta: head.meta };
  for (const [name, kind, start, count] of head.columns) {
    data[name] = new kinds[kind](bytes, 8 + length + start, count);
  }
  document.getElementById("data").remove();
  return data;
}

// Adds to the data: ends of blocks, live bytes by tag after each event, times, peaks.
function digest(data) {
  const { meta, start, life, tail, taken, waste, look } = data;
  const count = start.length, events = Math.max(1, meta.events), tags = meta.tags.length;
  data.events = events;
  data.count = count;
  data.freed = new Uint32Array(count);
  data.done = new Uint32Array(count);
  data.bytes = new Float64Array(count);
  data.live = meta.tags.map(() => new Float64Array(events + 1));
  data.retiring = new Float64Array(events + 1);
  data.outside = 0;
  let at = 0;
  for (let i = 0; i < count; i++) {
    at = start[i] += at;
    const freed = data.freed[i] = life[i] === NEVER ? NEVER : at + life[i];
    const done = data.done[i] = freed === NEVER || tail[i] === NEVER ? NEVER : freed + tail[i];
    const bytes = data.bytes[i] = taken[i] * meta.granule - waste[i];
    if ((look[i] >> 4 & 3) === 2) {
      data.outside += bytes;
      continue;
    }
    const live = data.live[look[i] & 15];
    live[at] += bytes;
    if (freed !== NEVER) {
      live[freed] -= bytes;
      if (done !== freed) {
        data.retiring[freed] += taken[i] * meta.granule;
        if (done !== NEVER) data.retiring[done] -= taken[i] * meta.granule;
      }
    }
  }
  data.total = new Float64Array(events + 1);
  const sums = new Float64Array(tags);
  let retiring = 0;
  data.peak = 0;
  data.peakAt = 0;
  for (let event = 0; event <= events; event++) {
    let total = 0;
    for (let tag = 0; tag < tags; tag++) {
      total += data.live[tag][event] = sums[tag] += data.live[tag][event];
    }
    data.retiring[event] = retiring += data.retiring[event];
    data.total[event] = total;
    if (total > data.peak) {
      data.peak = total;
      data.peakAt = event;
    }
  }
  data.peakReserved = data.reserved.reduce((most, bytes) => Math.max(most, bytes), 0);
  data.times = times(data);
  data.height = meta.bands.reduce((most, band) => Math.max(most, band.y + band.granules), 1);
  data.refusals = [];
  data.notable = [];
  for (let i = 0; i < data.markAt.length; i++) {
    const kind = data.markKind[i];
    if (kind === REFUSED) data.refusals.push(i);
    if (kind === REFUSED || kind === DRIVER_REFUSED || kind === TRIMMED) data.notable.push(i);
  }
  return data;
}

// Microseconds of each event. Between two readings of the clock they are spread evenly.
function times(data) {
  const { clock, clockAt, events } = data, times = new Float64Array(events + 1);
  let last = 0;
  for (let i = 0; i < clock.length; i++) {
    const end = i + 1 < clock.length ? clockAt[i + 1] : events;
    const step = i + 1 < clock.length ? (clock[i + 1] - clock[i]) / Math.max(1, end - clockAt[i]) : 0;
    for (let event = clockAt[i]; event < end; event++) times[event] = last = clock[i] + step * (event - clockAt[i]);
  }
  times[events] = last;
  return times;
}

// The last index whose value is at most this; -1 if none is.
function lastAtMost(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1; else high = middle;
  }
  return low - 1;
}

function reservedAt(data, event) {
  const i = lastAtMost(data.reservedAt, event);
  return i < 0 ? 0 : data.reserved[i];
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (Math.abs(bytes) >= 1024 && unit < 4) {
    bytes /= 1024;
    unit++;
  }
  return (unit === 0 ? String(Math.round(bytes)) : bytes.toFixed(bytes < 10 ? 2 : 1)) + " " + units[unit];
}

function duration(micros) {
  if (micros < 1e3) return micros.toFixed(micros < 10 ? 2 : 1) + " µs";
  if (micros < 1e6) return (micros / 1e3).toFixed(micros < 1e4 ? 3 : 2) + " ms";
  return (micros / 1e6).toFixed(3) + " s";
}

function grouped(number) {
  return Math.round(number).toLocaleString("en-US");
}

// Numbers that differ from buffer to buffer are no part of a name.
function family(label) {
  return label.replace(/[0-9]+/g, "#");
}
