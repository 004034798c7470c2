// The graph of the stage: which groups are open, what is marked, and how it is walked through with the keys.
const graph = { open: new Set(), entries: new Map(), root: null, path: new Set(), boxes: new Map(), arrows: [], width: 0, height: 0 };
const pane = byId("pane");
const picture = byId("picture");

function readStage() {
  graph.entries = entriesOf(stage);
  graph.path = pathOf(stage);
  graph.root = outline(graph.entries);
}

// Draws everything anew; the box named by `anchor` stays where it is on the screen.
function drawGraph(anchor) {
  const focused = picture.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const before = anchor && graph.boxes.has(anchor) ? graph.boxes.get(anchor).made.getBoundingClientRect() : null;
  graph.boxes.clear();
  graph.arrows.length = 0;
  const paths = visiblePaths(graph.root, graph.open);
  place(graph.root, null, graph.open, bundles(graph.entries, paths, graph.root));
  [graph.width, graph.height] = [graph.root.width, graph.root.height];
  const whole = { bytes: 0, rounds: 0 };
  graph.entries.forEach((entry) => {
    if (entry.kind === "removed") return;
    whole.bytes += entry.bytes;
    whole.rounds += entry.rounds;
  });
  picture.replaceChildren(drawGroup(graph.root, whole));
  picture.setAttribute("viewBox", `0 0 ${graph.width} ${graph.height}`);
  sizePicture();
  watchBoxes();
  markChosen();
  if (before && graph.boxes.has(anchor)) {
    const after = graph.boxes.get(anchor).made.getBoundingClientRect();
    pane.scrollLeft += after.left - before.left;
    pane.scrollTop += after.top - before.top;
  }
  if (focused && graph.boxes.has(focused)) graph.boxes.get(focused).made.focus({ preventScroll: true });
}

function toggleGroup(path, on = !graph.open.has(path)) {
  if (on) graph.open.add(path);
  else graph.open.delete(path);
  drawGraph(`g:${path}`);
}

// Opens or closes every group.
function openAll(on) {
  graph.open.clear();
  const visit = (item) => {
    if (item.entry) return;
    if (item.path !== null) graph.open.add(item.path);
    item.items.forEach(visit);
  };
  if (on) visit(graph.root);
  drawGraph(null);
}

// The box that stands for what is chosen: its own, or that of the closed group it is in.
function chosenBox() {
  if (chosen.name !== null) {
    const around = groupsAround(graph.root, chosen.name).find((path) => !graph.open.has(path));
    return graph.boxes.get(around === undefined ? `n:${chosen.name}` : `g:${around}`) || null;
  }
  return chosen.module ? moduleBox(chosen.module) : null;
}

// A module without a box of its own is what is in it, or else what it is in.
function moduleBox(module) {
  if (graph.boxes.has(`g:${module}`)) return graph.boxes.get(`g:${module}`);
  const boxes = [...graph.boxes.values()].map((box) => [box, box.item.entry ? box.item.entry.row.module : box.item.path]);
  const below = boxes.find(([, path]) => path === module || path.startsWith(`${module}.`));
  const above = boxes.filter(([, path]) => path && module.startsWith(`${path}.`)).sort((one, two) => two[1].length - one[1].length)[0];
  return (below || above || [null])[0];
}

function markChosen() {
  const box = chosenBox();
  const own = chosen.name === null ? [] : [chosen.name];
  picture.querySelectorAll("[aria-current]").forEach((made) => made.removeAttribute("aria-current"));
  picture.querySelectorAll('[tabindex="0"]').forEach((made) => made.setAttribute("tabindex", -1));
  const first = box || graph.boxes.values().next().value;
  if (first) first.made.setAttribute("tabindex", 0);
  if (box) box.made.setAttribute("aria-current", "true");
  for (const { made, from, to, pairs } of graph.arrows) {
    const [into, out] = [0, 1].map((side) => own.some((name) => pairs.some((pair) => pair.split(" ")[1 - side] === name)));
    made.classList.toggle("into", into || (!own.length && box !== null && box.item === to));
    made.classList.toggle("out", out || (!own.length && box !== null && box.item === from));
  }
}

// Opens what is around the chosen value, and brings it into sight.
function revealChosen() {
  if (chosen.name !== null && graph.entries.has(chosen.name)) {
    const closed = groupsAround(graph.root, chosen.name).filter((path) => !graph.open.has(path));
    closed.forEach((path) => graph.open.add(path));
    if (closed.length) drawGraph(null);
  } else if (chosen.module) {
    const above = pathsTo(chosen.module).filter((path) => path !== chosen.module && !graph.open.has(path));
    above.forEach((path) => graph.open.add(path));
    if (above.length) drawGraph(null);
  }
  markChosen();
  const box = chosenBox();
  if (box) intoSight(box.made);
}

function pressed(made) {
  const { item } = graph.boxes.get(made.dataset.key);
  if (item.entry) {
    chooseRow(item.entry.row.name);
  } else {
    chooseModule(item.path);
    toggleGroup(item.path);
  }
}

picture.addEventListener("click", (event) => {
  const made = event.target.closest("[data-key]");
  if (!made || view.dragged) return;
  pressed(made);
  const box = graph.boxes.get(made.dataset.key);
  if (box) box.made.focus({ preventScroll: true });
});

// The nearest box in a direction: as far as it is, and twice as far as it is to the side.
function neighbour(made, key) {
  const [across, sign] = { ArrowDown: [false, 1], ArrowUp: [false, -1], ArrowRight: [true, 1], ArrowLeft: [true, -1] }[key];
  const place = (box) => {
    const at = box.made.querySelector(".bar, .card").getBoundingClientRect();
    return [at.left + at.width / 2, at.top + at.height / 2];
  };
  const here = place(graph.boxes.get(made.dataset.key));
  let [best, least] = [null, Infinity];
  for (const box of graph.boxes.values()) {
    const there = place(box);
    const [along, aside] = across ? [there[0] - here[0], there[1] - here[1]] : [there[1] - here[1], there[0] - here[0]];
    const far = along * sign + 2 * Math.abs(aside);
    if (along * sign > 4 && far < least) [best, least] = [box, far];
  }
  return best;
}

function walkTo(box) {
  if (!box) return;
  if (box.item.entry) chooseRow(box.item.entry.row.name);
  else chooseModule(box.item.path);
  box.made.focus({ preventScroll: true });
}

picture.addEventListener("keydown", (event) => {
  const made = event.target.closest("[data-key]");
  if (!made || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.startsWith("Arrow")) {
    walkTo(neighbour(made, event.key));
  } else if (event.key === "Enter" || event.key === " ") {
    pressed(made);
  } else if (event.key === "Escape" || event.key === "Backspace") {
    const { item } = graph.boxes.get(made.dataset.key);
    const around = item.entry ? groupsAround(graph.root, item.entry.row.name).pop() : [...graph.open].filter((path) => item.path.startsWith(`${path}.`)).sort().pop();
    if (around !== undefined) walkTo(graph.boxes.get(`g:${around}`));
  } else {
    return;
  }
  event.preventDefault();
});

function startGraph() {
  readStage();
  // A graph of one group is shown open.
  const groups = graph.root.items.filter((item) => !item.entry);
  if (groups.length === 1) graph.open.add(groups[0].path);
  drawGraph(null);
  fitWidth();
}
