const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("lanes");
if (canvas) draw_timeline();

function draw_timeline() {
  const GUTTER = 62, TOP = 6, LANE = 46, GAP = 6, AXIS = 20, LEAST = 2;
  const PREPARE = "prepare", WIRE = "wire";
  const [ROLE, KIND, STATEMENT, BEGIN, TAKES, SENT] = [0, 1, 2, 3, 4, 5];
  const told = document.getElementById("told");
  const pen = canvas.getContext("2d");
  const end = span => span[BEGIN] + span[TAKES];
  // Messages come last: each lies in what its statement does, and is to be seen.
  const spans = [...data.spans].sort((one, other) => (one[KIND] === WIRE) - (other[KIND] === WIRE));
  const online = spans.filter(span => span[KIND] !== PREPARE);
  const bounds = list => [Math.min(...list.map(span => span[BEGIN])), Math.max(...list.map(end))];
  const all = bounds(spans), call = online.length ? bounds(online) : all;
  let [from, to] = call, grabbed = null, chosen = null; // the lane that the keys chose

  const width = () => canvas.clientWidth - GUTTER;
  const x_of = time => GUTTER + (time - from) / (to - from) * width();
  const time_of = x => from + (x - GUTTER) / width() * (to - from);
  const style = getComputedStyle(document.documentElement);
  const colour_of = span => span[KIND] === PREPARE ? data.idle : span[KIND] === WIRE ? style.getPropertyValue("--wire")
    : data.colours[span[STATEMENT] < 0 ? "output" : data.statements[span[STATEMENT]][1]] || "#8b929c";

  function view(start, stop) {
    const length = Math.min(Math.max(stop - start, LEAST), all[1] - all[0]);
    from = Math.min(Math.max(start, all[0]), all[1] - length);
    to = from + length;
    draw();
  }

  function zoom(factor, centre) {
    view(centre - (centre - from) * factor, centre + (to - centre) * factor);
  }

  function seconds(micro) {
    return micro >= 1e6 ? (micro / 1e6).toFixed(3) + " s" : micro >= 1e3 ? (micro / 1e3).toFixed(3) + " ms" : micro.toFixed(1) + " us";
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.font = "12px system-ui, sans-serif";
    axis();
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER, 0, width(), canvas.clientHeight);
    pen.clip();
    for (const span of spans) {
      const left = x_of(span[BEGIN]), right = x_of(end(span));
      if (right < GUTTER || left > canvas.clientWidth) continue;
      pen.fillStyle = colour_of(span);
      pen.fillRect(left, TOP + span[ROLE] * (LANE + GAP), Math.max(right - left, 0.5), LANE);
    }
    pen.restore();
    pen.fillStyle = style.getPropertyValue("--ink");
    data.lanes.forEach((name, place) => pen.fillText(name, 0, TOP + place * (LANE + GAP) + LANE / 2 + 4));
    if (chosen === null) return;
    pen.fillStyle = style.getPropertyValue("--focus");
    pen.fillRect(x_of((from + to) / 2) - 1, TOP + chosen * (LANE + GAP) - 3, 2, LANE + 6);
  }

  function axis() {
    const bottom = TOP + data.lanes.length * (LANE + GAP);
    const rough = (to - from) / Math.max(2, Math.floor(width() / 110)), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(each => each * power).find(each => each >= rough);
    for (let time = Math.ceil((from - call[0]) / step) * step + call[0]; time <= to; time += step) {
      pen.fillStyle = style.getPropertyValue("--rule");
      pen.fillRect(x_of(time), 0, 1, bottom);
      pen.fillStyle = style.getPropertyValue("--faint");
      pen.fillText(label(time - call[0], step), x_of(time) + 3, bottom + AXIS - 6);
    }
  }

  // From where the call begins; what was made before it has negative times.
  function label(time, step) {
    const [unit, name] = to - from >= 2e6 ? [1e6, "s"] : to - from >= 2e3 ? [1e3, "ms"] : [1, "us"];
    return (time / unit).toFixed(Math.max(0, -Math.floor(Math.log10(step / unit)))) + " " + name;
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    tell(Math.floor((event.clientY - box.top - TOP) / (LANE + GAP)), time_of(event.clientX - box.left));
  }

  function tell(lane, time) {
    const near = (to - from) / width();
    const found = spans.filter(span => span[ROLE] === lane && span[BEGIN] - near <= time && time <= end(span) + near).pop();
    told.textContent = found ? text_of(found) : chosen === null ? "\u00a0" : data.lanes[lane] + ": nothing";
  }

  function text_of(span) {
    const who = data.lanes[span[ROLE]] + ": ";
    if (span[KIND] === PREPARE) return who + "randomness, " + seconds(span[TAKES]);
    const [line, op, module] = span[STATEMENT] < 0 ? [0, "output", ""] : data.statements[span[STATEMENT]];
    const what = span[KIND] === WIRE ? "message of " + op + ", " + span[SENT] + " bytes" : span[KIND] === "exchange" ? "opening of " + op : op;
    return who + what + ", " + seconds(span[TAKES]) + (line ? ", line " + line : "") + (module ? ", " + module : "");
  }

  const actions = {
    call: () => view(...call), all: () => view(...all),
    in: () => zoom(0.5, (from + to) / 2), out: () => zoom(2, (from + to) / 2),
    left: () => view(from - (to - from) / 8, to - (to - from) / 8), right: () => view(from + (to - from) / 8, to + (to - from) / 8),
    up: () => choose(chosen === null ? data.lanes.length - 1 : Math.max(0, chosen - 1)),
    down: () => choose(chosen === null ? 0 : Math.min(data.lanes.length - 1, chosen + 1)),
  };
  function choose(lane) {
    chosen = lane;
    draw();
  }
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", actions[button.dataset.do]);
  const keys = {"+": "in", "=": "in", "-": "out", "0": "call", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down"};
  canvas.addEventListener("keydown", event => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    actions[keys[event.key]]();
    if (chosen !== null) tell(chosen, (from + to) / 2);
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => choose(null));
  canvas.addEventListener("wheel", event => {
    // A wheel alone scrolls the page.
    if (!event.ctrlKey) return;
    zoom(event.deltaY > 0 ? 1.25 : 0.8, time_of(event.offsetX));
    event.preventDefault();
  }, {passive: false});
  canvas.addEventListener("pointerdown", event => {
    grabbed = {x: event.clientX, from, to};
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => { grabbed = null; });
  canvas.addEventListener("pointermove", event => {
    if (!grabbed) return point(event);
    const moved = (event.clientX - grabbed.x) / width() * (grabbed.to - grabbed.from);
    view(grabbed.from - moved, grabbed.to - moved);
  });
  canvas.addEventListener("pointerleave", () => { told.textContent = "\u00a0"; });
  window.addEventListener("resize", draw);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) window.matchMedia(query).addEventListener("change", draw);

  const legend = document.getElementById("legend");
  for (const [name, colour] of [...Object.entries(data.colours), ["messages", "var(--wire)"], ["randomness", data.idle]]) {
    const item = document.createElement("li"), swatch = document.createElement("i");
    swatch.style.background = colour;
    item.append(swatch, name);
    legend.append(item);
  }
  draw();
}
