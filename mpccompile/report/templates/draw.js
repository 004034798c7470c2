// Boxes and arrows as SVG. What colour says, a sign or a kind of line says too.
function drawGroup(group, whole) {
  const made = shape("g", {});
  made.append(...group.arrows.map(drawArrow));
  for (const item of group.items) {
    const box = item.entry ? drawNode(item) : item.open ? drawFrame(item) : drawClosed(item, whole);
    const moved = shape("g", { transform: `translate(${item.x.toFixed(1)} ${item.y.toFixed(1)})` }, box);
    if (item.open) moved.append(drawGroup(item, whole));
    made.append(moved);
  }
  made.append(...drawNamed(group));
  return made;
}

// A short arrow into a box, with the name of the far box that it comes from.
function drawNamed(group) {
  const ends = new Map();
  return group.named.map((arrow) => {
    const { from, to } = arrow;
    const x = ends.get(to) || to.x + 12;
    const name = from.entry ? from.entry.row.name : from.label;
    ends.set(to, x + widthOf(name, "11px") + 26);
    const made = drawArrow({ ...arrow, points: [[x, to.y - 18], [x, to.y]] });
    const text = shape("text", { class: "faint", x: x + 7, y: to.y - 10 }, name);
    text.addEventListener("click", () => walkTo(graph.boxes.get(from.id)));
    made.classList.add("named");
    made.append(text);
    return made;
  });
}

function drawArrow({ from, to, pairs, points }) {
  const gone = pairs.every((pair) => pair.split(" ").some((name) => graph.entries.get(name).kind === "removed"));
  const critical = pairs.some((pair) => graph.path.has(pair));
  const made = shape("g", { class: `arrow${gone ? " gone" : ""}${critical ? " critical" : ""}` });
  made.append(shape("path", { class: "shaft", d: curve(points) }));
  if (to !== EXIT) made.append(shape("path", { class: "head", d: head(points) }));
  graph.arrows.push({ made, from, to, pairs });
  return made;
}

// Leaves and arrives straight down, and passes every bend so.
function curve(points) {
  const text = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  const parts = [`M${text(...points[0])}`];
  for (let at = 1; at < points.length; at += 1) {
    const [[x, y], [endX, endY]] = [points[at - 1], points[at]];
    const middle = (y + endY) / 2;
    parts.push(Math.abs(x - endX) < 0.5 ? `L${text(endX, endY)}` : `C${text(x, middle)} ${text(endX, middle)} ${text(endX, endY)}`);
  }
  return parts.join("");
}

function head(points) {
  const [x, y] = points[points.length - 1];
  return `M${(x - 4).toFixed(1)} ${(y - 7).toFixed(1)}L${(x + 4).toFixed(1)} ${(y - 7).toFixed(1)}L${x.toFixed(1)} ${y.toFixed(1)}Z`;
}

// A box that can be focused and chosen; `marks` are its classes and `told` is what a screen reader says.
function button(item, marks, told, ...parts) {
  const made = shape("g", { class: marks.filter(Boolean).join(" "), role: "button", tabindex: -1, "aria-label": told.filter(Boolean).join(", ") });
  made.dataset.key = item.id;
  made.append(shape("title", {}, told.filter(Boolean).join("\n")), ...parts);
  graph.boxes.set(item.id, { made, item });
  return made;
}

function drawNode(item) {
  const { entry, width, height } = item;
  const { row, kind, critical } = entry;
  const input = row.op === "input";
  const cost = costText(entry);
  const secrecy = row.secret ? "secret" : "public";
  const parts = [shape("rect", { class: "card", width, height, rx: input ? height / 2 : 6 })];
  if (row.secret && !input) parts.push(shape("path", { class: "stripe", d: `M6 9V${height - 9}` }));
  parts.push(...(input ? inputTexts(item) : callTexts(item)));
  if (cost) parts.push(shape("text", { class: "cost", x: width - 10, y: 34, "text-anchor": "end" }, cost));
  if (critical) parts.push(shape("path", { class: "diamond", d: `M${width - 14} 8l5 5l-5 5l-5 -5z` }));
  if (kind !== "kept") parts.push(badge(kind, width));
  const wrong = isWrong(row.name, stage);
  if (wrong) parts.push(wrongBadge());
  const why = kind === "kept" ? "" : `${kind} by ${stageName(stage)}: ${reasonOf(stage, row.name)}`;
  const title = input ? `input ${row.name}` : row.op;
  const told = [title, item.label, shapeText(row.shape), secrecy, cost, critical ? "on the critical path" : "", why, wrong ? wrongText(drawn) : ""];
  return button(item, ["node", secrecy, kind, critical && "critical", input && "input", wrong && "wrong"], told, ...parts);
}

function inputTexts({ width, entry: { row } }) {
  const middle = { x: width / 2, "text-anchor": "middle" };
  return [
    shape("text", { class: "title", y: 18, ...middle }, row.name),
    shape("text", { class: "faint", y: 34, ...middle }, `input ${shapeText(row.shape)}`),
  ];
}

function callTexts({ width, label: module, entry: { row, critical } }) {
  const title = shape("text", { class: "title", x: 14, y: 18 }, row.op);
  const room = width - (critical ? 40 : 26) - widthOf(row.op, "600 13px") - 8;
  if (module) title.append(shape("tspan", { class: "faint", dx: 6 }, cut(module, room, "11px")));
  return [title, shape("text", { class: "faint", x: 14, y: 34 }, shapeText(row.shape))];
}

function badge(kind, width) {
  const made = shape("g", { class: "badge", transform: `translate(${width - 4} 3)` });
  made.append(shape("circle", { r: 8 }), shape("text", { y: 4, "text-anchor": "middle" }, SIGNS[kind]));
  return made;
}

function drawClosed(item, whole) {
  const { width, height } = item;
  const changes = signs(item);
  const room = width - 48 - widthOf(changeText(item), "600 12px") - (item.critical ? 16 : 0);
  const share = (value, total) => (total ? Math.max(value ? 2 : 0, ((width - 28) * value) / total) : 0);
  const parts = [
    shape("rect", { class: "under", x: 4, y: 4, width, height, rx: 7 }),
    shape("rect", { class: "card", width, height, rx: 7 }),
    shape("path", { class: "twist", d: "M14 12l6 5l-6 5z" }),
    shape("text", { class: "title", x: 26, y: 21 }, cut(item.label, room, "600 13px")),
    shape("text", { class: "faint", x: 14, y: 38 }, sumText(item)),
    shape("rect", { class: "sent", x: 14, y: 46, width: share(item.bytes, whole.bytes), height: 3, rx: 1.5 }),
    shape("rect", { class: "waits", x: 14, y: 52, width: share(item.rounds, whole.rounds), height: 3, rx: 1.5 }),
  ];
  if (changes) changes.setAttribute("x", width - (item.critical ? 30 : 12));
  if (changes) parts.push(changes);
  if (item.critical) parts.push(shape("path", { class: "diamond", d: `M${width - 16} 11l5 5l-5 5l-5 -5z` }));
  return groupButton(item, "closed", parts);
}

function drawFrame(item) {
  const { width, height } = item;
  const changes = signs(item);
  const parts = [
    shape("rect", { class: "frame", width, height, rx: 9 }),
    shape("path", { class: "bar", d: `M0 ${SIZES.header}V9Q0 0 9 0H${width - 9}Q${width} 0 ${width} 9V${SIZES.header}Z` }),
    shape("path", { class: "twist", d: "M11 11h10l-5 6z" }),
    shape("text", { class: "title", x: 28, y: 19 }, item.label),
    shape("text", { class: "faint", x: width - 12, y: 19, "text-anchor": "end" }, changes ? "" : sumText(item)),
  ];
  if (changes) changes.setAttribute("x", width - 12);
  if (changes) parts.push(changes);
  return groupButton(item, "opened", parts);
}

function groupButton(item, state, parts) {
  const changes = Object.keys(SIGNS).filter((kind) => item[kind]).map((kind) => `${item[kind]} ${kind}`);
  const told = [item.label, sumText(item), item.critical ? "on the critical path" : "", ...changes, item.wrong ? "holds what is wrong first" : ""];
  if (item.wrong) parts.push(wrongBadge());
  const made = button(item, ["group", state, item.critical && "critical", item.wrong && "wrong"], told, ...parts);
  made.setAttribute("aria-expanded", String(state === "opened"));
  return made;
}

function signs(item) {
  const kinds = Object.keys(SIGNS).filter((kind) => item[kind]);
  if (!kinds.length) return null;
  const parts = kinds.map((kind, index) => shape("tspan", { class: kind, dx: index ? 6 : 0 }, `${SIGNS[kind]}${item[kind]}`));
  return shape("text", { class: "signs", y: 21, "text-anchor": "end" }, ...parts);
}
