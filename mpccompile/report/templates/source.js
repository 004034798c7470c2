// The generated source, a line for each operation, and what is known of the one that is selected.
const lines = byId("lines");
const atLine = new Map(data.statements.map((statement, index) => [statement.line, index]));
const ofNode = new Map(data.statements.map((statement, index) => [statement.node, index]));
let selected = null;

function drawSource() {
  const made = data.source.map((text, index) => {
    const line = element("div", { class: "line", id: `line-${index + 1}` }, element("b", {}, String(index + 1)));
    const at = text.indexOf("  # ");
    line.append(at < 0 ? text : text.slice(0, at));
    if (at >= 0) line.append(element("i", {}, text.slice(at)));
    const statement = data.statements[atLine.get(index + 1)];
    if (statement) {
      line.setAttribute("role", "option");
      line.setAttribute("aria-selected", "false");
      if (statement.critical) line.classList.add("critical-line");
    } else {
      line.setAttribute("role", "presentation");
    }
    return line;
  });
  lines.append(...made);
}

const lineOf = (index) => byId(`line-${data.statements[index].line}`);

// Moves the panel only: the page stays where its reader is.
function show(panel, made) {
  const top = made.getBoundingClientRect().top - panel.getBoundingClientRect().top;
  if (top < 30 || top > panel.clientHeight - 40) panel.scrollTop += top - panel.clientHeight / 3;
}

function clearSelection() {
  document.querySelectorAll('[aria-selected="true"]:not([role="tab"])').forEach((made) => made.setAttribute("aria-selected", "false"));
  lines.querySelectorAll(".within").forEach((made) => made.classList.remove("within"));
}

function select(index) {
  const statement = data.statements[index];
  clearSelection();
  selected = index;
  openDownTo(statement.module);
  const made = rows.get(`s${index}`);
  made.setAttribute("aria-selected", "true");
  show(byId("modules"), made);
  const line = lineOf(index);
  line.setAttribute("aria-selected", "true");
  lines.setAttribute("aria-activedescendant", line.id);
  showTab("source");
  show(byId("source"), line);
  detailStatement(statement);
}

function selectModule(path) {
  clearSelection();
  rows.get(`m${path}`).setAttribute("aria-selected", "true");
  const inside = data.statements.map((statement, index) => [statement.module, index]);
  const mine = inside.filter(([module]) => !path || module === path || module.startsWith(`${path}.`)).map((each) => each[1]);
  if (path) mine.forEach((index) => lineOf(index).classList.add("within"));
  if (path && mine.length) show(byId("source"), lineOf(mine[0]));
  if (mine.length) selected = mine[0] - 1;
  detailModule(modules.get(path), mine.length);
}

function details(title, pairs) {
  const list = element("dl");
  pairs.filter((pair) => pair[1] !== "" && pair[1] !== null).forEach(([name, value]) => list.append(element("dt", {}, name), element("dd", {}, value)));
  byId("details").replaceChildren(element("h2", {}, title), list);
}

function costs(row) {
  return [
    ["party 0, party 1 send", larger(row) ? `${bytes(row.bytes[0])}, ${bytes(row.bytes[1])}` : "nothing"],
    ["rounds", String(row.rounds)],
    ["network time, LAN, WAN", larger(row) || row.rounds ? `${seconds(row.network.lan)}, ${seconds(row.network.wan)}` : ""],
    ["measured", seconds(row.seconds)],
  ];
}

function detailStatement(statement) {
  const touched = element("span");
  data.passes.forEach((pass, index) => {
    const made = ["added", "changed"].find((kind) => (pass[kind] || []).some((each) => each.name === statement.node));
    if (!made || statement.node === null) return;
    const link = element("button", { class: "link", type: "button" }, `${made} by ${pass.stage}`);
    link.addEventListener("click", () => goToPass(index));
    touched.append(link, " ");
  });
  const secrecy = { true: "secret: held as shares", false: "public" }[statement.secret] || "";
  details(`${statement.variable} = ${statement.op}`, [
    ["shape", shapeText(statement.shape)],
    ["secrecy", secrecy],
    ...costs(statement),
    ["critical path", statement.critical ? "on it: later work waits for its rounds" : ""],
    ["module", statement.module || "the model itself"],
    ["in your source", statement.source],
    ["model.py", `line ${statement.line}`],
    ["node", statement.node === null ? "" : `%${statement.node}`],
    ["passes", touched.childNodes.length ? touched : ""],
  ]);
}

function detailModule(module, count) {
  details(module.path || "the whole model", [["operations", String(count)], ...costs(module)]);
}

lines.addEventListener("click", (event) => {
  const made = event.target.closest('[role="option"]');
  if (made) select(atLine.get(Number(made.id.slice(5))));
});

lines.addEventListener("keydown", (event) => {
  const last = data.statements.length - 1;
  const here = selected === null ? -1 : selected;
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: last }[event.key];
  if (next === undefined || last < 0) return;
  event.preventDefault();
  select(Math.max(0, Math.min(last, next)));
});
