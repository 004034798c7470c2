// The layers as boxes, laid out by level, and what flows between them.
const BOX = { width: 220, height: 52, across: 28, down: 30, edge: 40 };

function drawFlow() {
  const svg = byId("flow");
  const shape = (tag, attributes, text) => {
    const made = document.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const levels = [];
  data.flow.boxes.forEach((box) => {
    box.place = (levels[box.level] = levels[box.level] || []).push(box) - 1;
  });
  const widest = Math.max(1, ...levels.map((level) => level.length));
  const width = widest * (BOX.width + BOX.across) + 2 * BOX.edge;
  const height = levels.length * (BOX.height + BOX.down) + BOX.down;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  data.flow.boxes.forEach((box) => {
    const row = levels[box.level].length * (BOX.width + BOX.across) - BOX.across;
    box.x = (width - row) / 2 + box.place * (BOX.width + BOX.across);
    box.y = BOX.down / 2 + box.level * (BOX.height + BOX.down);
  });
  data.flow.edges.forEach(([from, to]) => svg.append(shape("path", { d: edge(data.flow.boxes[from], data.flow.boxes[to]) })));
  data.flow.boxes.forEach((box) => svg.append(drawBox(box, shape)));
}

function edge(from, to) {
  const [x, y] = [from.x + BOX.width / 2, from.y + BOX.height];
  const [endX, endY] = [to.x + BOX.width / 2, to.y];
  if (to.level === from.level + 1) return `M${x} ${y} C${x} ${y + 15} ${endX} ${endY - 15} ${endX} ${endY}`;
  // Past the boxes between, on their right.
  const side = Math.max(from.x, to.x) + BOX.width + BOX.edge / 2;
  return `M${x + 40} ${y} C${x + 40} ${y + 20} ${side} ${y} ${side} ${y + 30} L${side} ${endY - 30} C${side} ${endY} ${endX + 40} ${endY - 20} ${endX + 40} ${endY}`;
}

function drawBox(box, shape) {
  const label = box.path || "the model itself";
  const told = `${plural(box.count, "op")}, ${bytes(box.bytes)}, ${plural(box.rounds, "round")}`;
  const made = shape("g", { tabindex: 0, role: "button", class: box.critical ? "on" : "", transform: `translate(${box.x} ${box.y})` });
  made.setAttribute("aria-label", `${label}: ${told}${box.critical ? ", on the critical path" : ""}`);
  const short = label.length > 28 ? `\u2026${label.slice(-27)}` : label;
  const share = (value, whole) => (whole ? (BOX.width - 16) * Math.min(1, value / whole) : 0);
  made.append(
    shape("title", {}, `${label}: ${told}`),
    shape("rect", { class: "box", width: BOX.width, height: BOX.height, rx: 6 }),
    shape("text", { x: 8, y: 18 }, short),
    shape("text", { x: 8, y: 33, class: "less" }, told),
    shape("rect", { class: "sent", x: 8, y: 39, width: share(box.bytes, larger(data.total)), height: 3 }),
    shape("rect", { class: "waits", x: 8, y: 44, width: share(box.rounds, data.total.rounds), height: 3 }),
  );
  const go = () => {
    showTab("modules");
    openDownTo(box.path);
    focusRow(rows.get(`m${box.path}`));
    selectModule(box.path);
  };
  made.addEventListener("click", go);
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    go();
  });
  return made;
}
