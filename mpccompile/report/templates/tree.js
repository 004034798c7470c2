// The modules as a table of costs, whose rows are made when their module is opened.
const time = (row) => (data.measured !== null ? seconds(row.seconds) : foreseen ? seconds(row.predicted.loopback) : "");

const tree = byId("tree");
const rows = new Map(); // what is on screen, by key: "m" and a path, or "s" and a number
const modules = new Map();

function learn(module, parent) {
  modules.set(module.path, module);
  module.parent = parent;
  module.children.forEach((child) => learn(child, module));
}
learn(data.modules, null);

function bar(value, whole, kind) {
  const inner = element("i");
  inner.style.width = `${whole ? (100 * value) / whole : 0}%`;
  return element("span", { class: `bar ${kind}` }, inner);
}

function row(key, level, name, cost, count) {
  const made = element("div", { role: "treeitem", class: "row", "aria-level": level, tabindex: -1, "aria-selected": "false" });
  made.style.setProperty("--level", level);
  made.dataset.key = key;
  const mark = cost.critical ? element("span", { class: "critical", title: "on the critical path of rounds" }, " \u25c6") : "";
  const unseen = cost.critical ? element("span", { class: "unseen" }, " on the critical path") : "";
  name.append(mark, unseen);
  const sent = larger(cost);
  made.append(
    name,
    element("span", { class: "count" }, count),
    element("span", {}, sent ? bytes(sent) : "", counted ? bar(sent, larger(data.total), "sent") : ""),
    element("span", {}, cost.rounds ? String(cost.rounds) : "", counted ? bar(cost.rounds, data.total.rounds, "waits") : ""),
    element("span", { class: "time" }, time(cost)),
  );
  rows.set(key, made);
  return made;
}

function moduleRow(module, level) {
  const name = element("span", { class: "name module" }, element("span", { class: "twist", "aria-hidden": "true" }, "\u25b8"));
  name.append(module.name || "the whole model");
  // Opening the outputs belongs to no operation, but to the whole.
  const { bytes: sent, rounds, predicted } = data.total;
  const cost = module.path ? module : { ...module, bytes: sent, rounds, predicted, seconds: data.measured };
  const made = row(`m${module.path}`, level, name, cost, String(module.count));
  made.setAttribute("aria-expanded", "false");
  return made;
}

function statementRow(index, level) {
  const statement = data.statements[index];
  const name = element("span", { class: "name" }, element("span", { class: "twist", "aria-hidden": "true" }, ""), statement.op, " ");
  name.append(element("span", { class: "shape" }, shapeText(statement.shape)));
  return row(`s${index}`, level, name, statement, "");
}

// A module's own statements and its modules, in the order of the program.
function contents(module) {
  const first = (child) => (child.own.length ? Math.min(child.own[0], ...child.children.map(first)) : Math.min(...child.children.map(first)));
  const parts = module.children.map((child) => [first(child), () => moduleRow(child, 0), child]);
  module.own.forEach((index) => parts.push([index, null, index]));
  return parts.sort((one, two) => one[0] - two[0]).map((part) => part[2]);
}

function openRow(made) {
  if (made.getAttribute("aria-expanded") !== "false") return;
  made.setAttribute("aria-expanded", "true");
  made.querySelector(".twist").textContent = "\u25be";
  const level = Number(made.getAttribute("aria-level")) + 1;
  const inside = contents(modules.get(made.dataset.key.slice(1)));
  made.after(...inside.map((part) => (typeof part === "number" ? statementRow(part, level) : moduleRow(part, level))));
}

function closeRow(made) {
  if (made.getAttribute("aria-expanded") !== "true") return;
  made.setAttribute("aria-expanded", "false");
  made.querySelector(".twist").textContent = "\u25b8";
  const level = Number(made.getAttribute("aria-level"));
  while (made.nextElementSibling && Number(made.nextElementSibling.getAttribute("aria-level")) > level) {
    rows.delete(made.nextElementSibling.dataset.key);
    made.nextElementSibling.remove();
  }
}

function openDownTo(path) {
  const above = [];
  for (let module = modules.get(path); module; module = module.parent) above.unshift(module);
  above.forEach((module) => openRow(rows.get(`m${module.path}`)));
}

function focusRow(made) {
  tree.querySelectorAll('[tabindex="0"]').forEach((other) => { other.tabIndex = -1; });
  made.tabIndex = 0;
  made.focus();
}

function activate(made, toggle) {
  const key = made.dataset.key;
  if (key[0] === "s") {
    chooseStatement(Number(key.slice(1)));
  } else {
    if (toggle) (made.getAttribute("aria-expanded") === "true" ? closeRow : openRow)(made);
    chooseModule(key.slice(1));
  }
}

tree.addEventListener("click", (event) => {
  const made = event.target.closest('[role="treeitem"]');
  if (!made) return;
  focusRow(made);
  activate(made, true);
});

function parentRow(made) {
  const level = made.getAttribute("aria-level");
  let above = made.previousElementSibling;
  while (above && Number(above.getAttribute("aria-level")) >= Number(level)) above = above.previousElementSibling;
  return above;
}

tree.addEventListener("keydown", (event) => {
  const made = event.target.closest('[role="treeitem"]');
  if (!made || event.ctrlKey || event.metaKey || event.altKey) return;
  const expanded = made.getAttribute("aria-expanded");
  const next = {
    ArrowDown: () => made.nextElementSibling,
    ArrowUp: () => made.previousElementSibling,
    Home: () => tree.firstElementChild,
    End: () => tree.lastElementChild,
    ArrowRight: () => (expanded === "false" ? openRow(made) : expanded ? made.nextElementSibling : null),
    ArrowLeft: () => (expanded === "true" ? closeRow(made) : parentRow(made)),
    Enter: () => activate(made, true),
    " ": () => activate(made, false),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  const target = next();
  if (target) focusRow(target);
});

function startTree() {
  byId("time-head").textContent = data.measured !== null ? "measured" : foreseen ? "predicted" : "";
  tree.append(moduleRow(data.modules, 1));
  tree.firstElementChild.tabIndex = 0;
  // Down to the layers, which stay closed.
  new Set(data.statements.map((statement) => parentOf(layerOf(statement.module)))).forEach(openDownTo);
}
const parentOf = (path) => path.split(".").slice(0, -1).join(".");
