// What the pointer and the keys do, and the beginning.

let drawing = 0;

function blockAt(data, event, place) {
  const { start, done, y, taken } = data;
  for (let i = lastAtMost(start, event); i >= 0; i--) {
    if (done[i] > event && y[i] !== NOWHERE && place >= y[i] && place < y[i] + taken[i]) return i;
  }
  return -1;
}

function run(data) {
  const element = (id) => document.getElementById(id);
  const redraw = () => {
    if (drawing) return;
    drawing = requestAnimationFrame(() => {
      drawing = 0;
      drawAll(data);
    });
  };
  const changed = () => {
    writeLink(data);
    redraw();
  };
  const press = (id, on) => element(id).setAttribute("aria-pressed", String(on));
  const buttons = () => {
    press("by-event", !view.byTime);
    press("by-time", view.byTime);
    press("color-tag", !view.byLabel);
    press("color-label", view.byLabel);
  };
  const axis = (byTime) => {
    switchAxis(data, byTime);
    buttons();
    changed();
  };
  const coloring = (byLabel) => {
    view.byLabel = byLabel;
    buttons();
    changed();
  };
  const goTo = (event) => {
    const width = Math.min(view.to - view.from, (wholeRange(data)[1] - wholeRange(data)[0]) / 4);
    const at = position(data, event);
    setRange(data, at - width * 0.7, at + width * 0.3);
    view.pinned = event;
    changed();
  };
  const nextRefusal = () => {
    const now = view.pinned ?? -1, all = data.refusals.map((i) => data.markAt[i]);
    if (all.length) goTo(all.find((at) => at > now) ?? all[0]);
  };
  const whole = () => {
    showWhole(data);
    view.pinned = null;
    view.chosen = -1;
    changed();
  };
  const find = (text) => {
    element("search").value = text;
    search(data, text);
    changed();
  };

  element("by-event").onclick = () => axis(false);
  element("by-time").onclick = () => axis(true);
  element("color-tag").onclick = () => coloring(false);
  element("color-label").onclick = () => coloring(true);
  element("whole").onclick = whole;
  element("refusal").onclick = nextRefusal;
  element("refusal").disabled = data.refusals.length === 0;
  element("help").onclick = () => {
    const shown = element("legend").hidden;
    element("legend").hidden = !shown;
    element("help").setAttribute("aria-expanded", String(shown));
    redraw();
  };
  let typing = 0;
  element("search").oninput = (input) => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      search(data, input.target.value);
      changed();
    }, 120);
  };
  document.querySelector("#holders").onclick = (click) => {
    const row = click.target.closest("tr[data-find]");
    if (row) find(view.query === row.dataset.find ? "" : row.dataset.find);
  };
  element("events").onclick = (click) => {
    const line = click.target.closest("li[data-at]");
    if (line) goTo(Number(line.dataset.at));
  };

  const at = (canvas, pointer) => {
    const box = canvas.getBoundingClientRect(), inner = box.width - LEFT;
    const across = (pointer.clientX - box.left - LEFT) / inner, down = (pointer.clientY - box.top) / box.height;
    return { position: view.from + across * (view.to - view.from), place: view.high - down * (view.high - view.low), across, inner, box };
  };
  for (const id of ["usage", "marks", "map"]) {
    const canvas = element(id);
    let drag = null;
    canvas.onpointerdown = (pointer) => {
      drag = { x: pointer.clientX, y: pointer.clientY, from: view.from, to: view.to, low: view.low, moved: false };
      canvas.setPointerCapture(pointer.pointerId);
    };
    canvas.onpointermove = (pointer) => {
      const spot = at(canvas, pointer);
      if (drag) {
        const [dx, dy] = [pointer.clientX - drag.x, pointer.clientY - drag.y];
        drag.moved ||= Math.hypot(dx, dy) > 4;
        if (drag.moved) {
          const shift = dx / spot.inner * (drag.to - drag.from);
          setRange(data, drag.from - shift, drag.to - shift);
          if (id === "map") moveAddresses(data, drag.low + dy / spot.box.height * (view.high - view.low), view.high - view.low);
          showTip([], 0, 0);
          changed();
          return;
        }
      }
      view.hover = spot.across < 0 ? null : eventAt(data, spot.position);
      view.block = id === "map" && view.hover !== null ? blockAt(data, view.hover, spot.place) : -1;
      const reach = Math.ceil((view.to - view.from) / spot.inner * 3);
      const lines = view.hover === null ? [] : view.block >= 0 ? blockTip(data, view.block)
        : id === "marks" ? markTip(data, view.hover, view.byTime ? 2 : reach)
        : id === "usage" ? [["b", size(data.total[view.hover]) + " live"], ["div", `event ${grouped(view.hover + data.meta.first)}, ${duration(data.times[view.hover])}`], ...stageTip(data, view.hover)]
        : [];
      showTip(lines, pointer.clientX, pointer.clientY);
      redraw();
    };
    canvas.onpointerup = (pointer) => {
      if (drag && !drag.moved) {
        const spot = at(canvas, pointer), event = spot.across < 0 ? null : eventAt(data, spot.position);
        view.pinned = view.pinned === event ? null : event;
        view.chosen = id === "map" && event !== null ? blockAt(data, event, spot.place) : -1;
        changed();
      }
      drag = null;
    };
    canvas.onpointerleave = () => {
      view.hover = null;
      view.block = -1;
      showTip([], 0, 0);
      redraw();
    };
    canvas.ondblclick = whole;
    canvas.addEventListener("wheel", (wheel) => {
      wheel.preventDefault();
      const spot = at(canvas, wheel), factor = Math.exp(Math.max(-1, Math.min(1, (wheel.deltaY || wheel.deltaX) / 300)));
      if (wheel.shiftKey && id === "map") zoomAddresses(data, factor, spot.place);
      else zoom(data, factor, spot.position);
      changed();
    }, { passive: false });
  }
  strip(data, element("strip"), changed);

  document.addEventListener("keydown", (key) => {
    if (key.target.tagName === "INPUT") {
      if (key.key === "Escape") {
        find("");
        key.target.blur();
      }
      return;
    }
    if (key.ctrlKey || key.metaKey || key.altKey) return;
    const width = view.to - view.from, middle = (view.from + view.to) / 2;
    const keys = {
      ArrowLeft: () => setRange(data, view.from - width / 5, view.to - width / 5),
      ArrowRight: () => setRange(data, view.from + width / 5, view.to + width / 5),
      "+": () => zoom(data, 0.7, middle), "=": () => zoom(data, 0.7, middle), "-": () => zoom(data, 1 / 0.7, middle),
      "0": whole, n: nextRefusal, t: () => axis(!view.byTime), c: () => coloring(!view.byLabel),
      "/": () => element("search").focus(), "?": () => element("help").click(),
      Escape: () => {
        view.pinned = null;
        view.chosen = -1;
      },
    };
    if (keys[key.key]) {
      key.preventDefault();
      keys[key.key]();
      changed();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColors(data);
    redraw();
  });
  // At once, before the old picture is stretched.
  new ResizeObserver(() => drawAll(data)).observe(element("charts"));
  element("search").value = view.query;
  buttons();
}

// The strip on top: dragging moves the window, a click brings it there.
function strip(data, canvas, changed) {
  const move = (pointer) => {
    const box = canvas.getBoundingClientRect(), [first, last] = wholeRange(data);
    const at = first + (pointer.clientX - box.left - LEFT) / (box.width - LEFT) * (last - first), half = (view.to - view.from) / 2;
    setRange(data, at - half, at + half);
    changed();
  };
  canvas.onpointerdown = (pointer) => {
    canvas.setPointerCapture(pointer.pointerId);
    move(pointer);
  };
  canvas.onpointermove = (pointer) => {
    if (pointer.buttons & 1) move(pointer);
  };
  canvas.addEventListener("wheel", (wheel) => {
    wheel.preventDefault();
    zoom(data, Math.exp(Math.max(-1, Math.min(1, wheel.deltaY / 300))), (view.from + view.to) / 2);
    changed();
  }, { passive: false });
}

function drawAll(data) {
  drawStrip(data);
  drawUsage(data);
  drawMarks(data);
  drawMap(data);
  drawAxis(data);
  showMoment(data);
  showFound(data);
}

// Whoever drives this page from outside reads from `body` what became of it.
(async () => {
  const said = document.body.dataset, begun = performance.now();
  try {
    const data = digest(await unpack());
    readColors(data);
    showWhole(data);
    readLink(data);
    showFacts(data);
    showNotable(data);
    run(data);
    const loaded = performance.now();
    drawAll(data);
    said.loadMs = Math.round(loaded - begun);
    said.drawMs = Math.round(performance.now() - loaded);
    said.events = data.meta.events;
    said.blocks = data.count;
    said.peak = data.peak;
    said.found = view.hits === null ? "" : view.hitCount;
    said.ready = "yes";
  } catch (fault) {
    said.ready = "no";
    const text = node("p", `This page cannot be drawn: ${fault.message}. It needs a browser of 2023 or later.`, { class: "fault" });
    document.querySelector("main").replaceChildren(text);
  }
})();
