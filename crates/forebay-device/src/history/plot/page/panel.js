// Beside the charts: who held what at one moment, and what is under the pointer.

function node(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function holdersAt(data, event) {
  const families = new Map(), { start, freed, label, look, bytes } = data;
  for (let i = 0; i < data.count && start[i] <= event; i++) {
    if (freed[i] <= event || (look[i] >> 4 & 3) === 2) continue;
    const key = colors.family[label[i]] * 16 + (look[i] & 15);
    const sum = families.get(key);
    if (sum) {
      sum.bytes += bytes[i];
      sum.count++;
    } else {
      families.set(key, { bytes: bytes[i], count: 1, block: i });
    }
  }
  return [...families.values()].sort((a, b) => b.bytes - a.bytes);
}

function showFacts(data) {
  const { meta } = data, facts = document.getElementById("facts");
  const part = (text, value, bad) => {
    if (facts.childNodes.length) facts.append("  ·  ");
    if (text) facts.append(text + " ");
    facts.append(node("b", value, bad ? { class: "bad" } : {}));
  };
  part("", `${grouped(meta.events)} events`);
  part("in", duration(data.times[data.events] - data.times[0]));
  part("on", meta.device);
  part("peak live", size(data.peak));
  if (data.peakReserved > 0) part("peak reserved", size(data.peakReserved));
  if (meta.limit !== null) part("limit", size(meta.limit));
  if (data.outside > 0) part("mapped files beside", size(data.outside));
  part("refused", grouped(data.refusals.length), data.refusals.length > 0);
  if (meta.first > 0) part("lost before the first", grouped(meta.first), true);
  if (meta.leftOut > 0) part("not shown at the end", grouped(meta.leftOut), true);
}

function showMoment(data) {
  const event = moment(data), { meta } = data;
  const title = view.pinned !== null ? "Held at" : view.hover !== null ? "At the cursor" : "At the fullest moment in view";
  document.getElementById("moment").textContent = title;
  const sums = document.getElementById("sums"), reserved = reservedAt(data, event);
  const live = data.total[event], retiring = data.retiring[event];
  const rows = [["event", grouped(event + meta.first)], ["time", duration(data.times[event])], ["live", size(live)]];
  if (retiring > 0) rows.push(["retiring", size(retiring)]);
  if (reserved > 0) {
    rows.push(["reserved", size(reserved)], ["free in pools", size(Math.max(0, reserved - live - retiring))]);
    rows.push(["reserved over live", live > 0 ? (reserved / live).toFixed(3) : "-"]);
  }
  if (meta.limit !== null) rows.push(["left of the limit", size(Math.max(0, meta.limit - reserved))]);
  sums.replaceChildren(...rows.flatMap(([name, value]) => [node("dt", name), node("dd", value)]));

  const bars = data.live.map((values, tag) => [tag, values[event]]).filter(([, bytes]) => bytes > 0).sort((a, b) => b[1] - a[1]);
  document.getElementById("tags").replaceChildren(...bars.map(([tag, bytes]) => {
    const row = node("div", undefined, { class: "bar" }), bar = node("i");
    bar.style.cssText = `background:${colors.tags[tag]};width:${bytes / live * 100}%`;
    row.append(node("span", meta.tags[tag]), bar, node("span", size(bytes)));
    return row;
  }), ...(bars.length ? [] : [node("span", "nothing", { class: "none" })]));

  const holders = holdersAt(data, event), shown = holders.slice(0, 14);
  const rest = holders.slice(14).reduce((sum, holder) => sum + holder.bytes, 0);
  const lines = shown.map(({ bytes, count, block }) => {
    const text = meta.labels[data.label[block]], name = count > 1 ? family(text) : text;
    const row = node("tr", undefined, name ? { "data-find": name, title: "Look for it" } : {}), spot = node("td"), label = node("td", name || "(no label)");
    const square = node("i");
    square.style.background = colorOf(data, block);
    spot.append(square);
    label.append(" ", node("small", count > 1 ? `× ${grouped(count)}` : meta.tags[data.look[block] & 15]));
    row.append(spot, label, node("td", size(bytes)));
    return row;
  });
  if (rest > 0) {
    const row = node("tr");
    row.append(node("td"), node("td", `${holders.length - 14} others`), node("td", size(rest)));
    lines.push(row);
  }
  document.querySelector("#holders tbody").replaceChildren(...lines);
}

function showNotable(data) {
  const list = document.getElementById("events"), { meta } = data, shown = data.notable.slice(0, 100);
  const lines = shown.map((i) => {
    const kind = data.markKind[i], bytes = size(data.markBytes[i]), label = meta.labels[data.markLabel[i]];
    const text = kind === REFUSED ? `refused ${bytes}${label ? ` for ${label}` : ""}` : kind === TRIMMED ? `trimmed ${bytes}` : `the driver refused ${bytes}`;
    return node("li", `${grouped(data.markAt[i] + meta.first)}: ${text}`, { "data-at": data.markAt[i] });
  });
  if (data.notable.length > 100) lines.push(node("li", `and ${grouped(data.notable.length - 100)} more`, { class: "none" }));
  list.replaceChildren(...(lines.length ? lines : [node("li", "nothing", { class: "none" })]));
}

function showFound(data) {
  const found = document.getElementById("found");
  if (view.hits === null) {
    found.textContent = "";
    return;
  }
  const event = moment(data);
  let bytes = 0;
  for (let i = 0; i < data.count && data.start[i] <= event; i++) if (view.hits[i] && data.freed[i] > event) bytes += data.bytes[i];
  found.textContent = `${grouped(view.hitCount)} found, ${size(bytes)} now`;
}

function blockTip(data, i) {
  const { meta } = data, served = ["from the pool", "from the driver", "memory of others"][data.look[i] >> 4 & 3];
  const end = data.freed[i] === NEVER ? "still held at the end" : `dropped at event ${grouped(data.freed[i] + meta.first)}`;
  const [from, to] = [data.times[data.start[i]], data.times[Math.min(data.events, data.freed[i])]];
  const lines = [
    ["b", meta.labels[data.label[i]] || "(no label)"],
    ["span", `${size(data.bytes[i])} of ${meta.tags[data.look[i] & 15]}, pool ${data.pool[i]}`],
    ["div", `handed out at event ${grouped(data.start[i] + meta.first)}, ${served}${data.look[i] >> 6 & 1 ? ", while queued work still used it" : ""}`],
    ["div", `${end}, held for ${duration(to - from)}`],
  ];
  if (data.done[i] !== data.freed[i] && data.freed[i] !== NEVER) {
    const last = data.done[i] === NEVER ? "the end" : `event ${grouped(data.done[i] + meta.first)}`;
    lines.push(["div", `retiring until ${last}`]);
  }
  if (data.waste[i] > 0) lines.push(["div", `${size(data.waste[i])} more from rounding`]);
  return lines;
}

function markTip(data, event, reach) {
  const lines = [], names = { [REFUSED]: "refused", [DRIVER_REFUSED]: "the driver refused", [TRIMMED]: "trimmed", [MAPPED]: "took from the driver", [UNMAPPED]: "gave back" };
  for (let i = lastAtMost(data.markAt, event - reach - 1) + 1; i < data.markAt.length && data.markAt[i] <= event + reach && lines.length < 6; i++) {
    const name = names[data.markKind[i]], label = data.meta.labels[data.markLabel[i]];
    if (name) lines.push(["span", `${grouped(data.markAt[i] + data.meta.first)}: ${name} ${size(data.markBytes[i])}${label ? ` for ${label}` : ""}`]);
  }
  return lines;
}

function stageTip(data, event) {
  let last = null;
  for (let i = lastAtMost(data.markAt, event); i >= 0 && last === null; i--) if (data.markKind[i] === SUBMITTED) last = i;
  const label = last === null ? "" : data.meta.labels[data.markLabel[last]];
  return label ? [["div", `last submitted: ${label}`]] : [];
}

function showTip(lines, x, y) {
  const tip = document.getElementById("tip");
  tip.hidden = lines.length === 0;
  if (tip.hidden) return;
  tip.replaceChildren(...lines.flatMap(([name, text]) => name === "div" ? [node(name, text)] : [node(name, text), node("br")]));
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(window.innerWidth - box.width - 6, x + 14)) + "px";
  tip.style.top = Math.max(4, y + 18 + box.height > window.innerHeight ? y - box.height - 10 : y + 18) + "px";
}
