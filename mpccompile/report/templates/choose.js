// What is chosen, in every view at once: a value by its name, with its statement by number if it has one, or a module.
const chosen = { name: null, index: null, module: null };

function chooseRow(name) {
  const index = ofNode.get(name);
  if (index === undefined && !graph.entries.has(name)) return;
  choose(name, index === undefined ? null : index);
}

// What stands in model.py but not at the stage on the screen is shown where it is: in what was compiled.
function chooseNamed(name) {
  if (!graph.entries.has(name)) goToStage(LAST);
  chooseRow(name);
}

function chooseStatement(index) {
  const name = data.statements[index].node;
  if (data.graph && name !== null) chooseNamed(name);
  else choose(name, index);
}

function choose(name, index) {
  Object.assign(chosen, { name, index, module: null });
  clearMarks();
  detailValue();
  if (index !== null) {
    openDownTo(data.statements[index].module);
    const made = rows.get(`s${index}`);
    made.setAttribute("aria-selected", "true");
    show(byId("modules"), made);
  }
  const line = chosenLine();
  if (line) {
    markLine(line);
    if (stage === LAST) showTab("source");
    show(byId("source"), line);
  }
  if (data.graph) revealChosen();
}

function chooseModule(path) {
  Object.assign(chosen, { name: null, index: null, module: path });
  clearMarks();
  detailModule(path);
  if (modules.has(path)) {
    openDownTo(parentOf(path));
    rows.get(`m${path}`).setAttribute("aria-selected", "true");
  }
  const mine = statementsIn(path);
  if (path && mine.length) {
    mine.forEach((index) => lineOf(index).classList.add("within"));
    show(byId("source"), lineOf(mine[0]));
  }
  if (data.graph) revealChosen();
}

function statementsIn(path) {
  const inside = (module) => !path || module === path || module.startsWith(`${path}.`);
  return [...data.statements.keys()].filter((index) => inside(data.statements[index].module));
}

function clearMarks() {
  document.querySelectorAll('[aria-selected="true"]:not([role="tab"])').forEach((made) => made.setAttribute("aria-selected", "false"));
  lines.querySelectorAll(".within").forEach((made) => made.classList.remove("within"));
}

// Moves the panel only: the page stays where its reader is.
function show(panel, made) {
  const top = made.getBoundingClientRect().top - panel.getBoundingClientRect().top;
  if (top < 30 || top > panel.clientHeight - 40) panel.scrollTop += top - panel.clientHeight / 3;
}
