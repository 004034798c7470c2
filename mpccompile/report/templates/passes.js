// The stages to step through, and one pass in words: what it cost and saved, what it changed, and why.
const FIRST_SHOWN = 60;

function goToStage(index) {
  const before = stage;
  stage = Math.max(0, Math.min(LAST, index));
  if (stage === before) return;
  drawStage();
  if (data.graph) {
    readStage();
    const box = chosenBox();
    drawGraph(box ? box.item.id : null);
    if (chosen.name !== null && graph.entries.has(chosen.name)) revealChosen();
  }
  showTab(stage === LAST ? "source" : "passes");
  if (chosen.name === null) {
    detailModule(chosen.module);
  } else if (data.graph) {
    if (graph.entries.has(chosen.name)) detailValue();
    else chooseModule("");
  }
}

function startStages() {
  const [choice, strip] = [byId("stage"), byId("strip")];
  for (let index = 0; index <= LAST; index += 1) {
    const pass = passOf(index);
    const said = pass ? ` (${doneBy(index)})` : "";
    const name = pass ? `${index}. ${stageName(index)}` : { 0: "Captured from the model" }[index] || "Compiled: what runs";
    const told = breaksAt(index) ? `${WRONG} ${name}${said} BROKEN` : `${name}${said}`;
    choice.append(element("option", { value: index }, told));
    const made = element("button", { type: "button", tabindex: -1, title: told, class: pass && pass.changes ? "did" : pass ? "" : "end" });
    made.classList.toggle("wrong", breaksAt(index));
    made.addEventListener("click", () => goToStage(index));
    strip.append(made);
  }
  choice.addEventListener("change", () => goToStage(Number(choice.value)));
  byId("previous").addEventListener("click", () => goToStage(stage - 1));
  byId("next").addEventListener("click", () => goToStage(stage + 1));
  drawStage();
}

// A pass that only reorders changes the place of many values, where it moves a few.
function doneBy(index) {
  const { changes } = passOf(index);
  const here = data.graph ? data.graph.stages[index] : { moved: 0 };
  const only = here.moved && !Object.keys(SIGNS).some((kind) => here[kind].length);
  return only ? `${here.moved} moved` : changes ? plural(changes, "change") : "nothing to do";
}

function drawStage() {
  byId("previous").disabled = stage <= 0;
  byId("next").disabled = stage >= LAST;
  byId("stage").value = String(stage);
  [...byId("strip").children].forEach((made, index) => made.classList.toggle("here", index === stage));
  byId("did").replaceChildren(...stageChips());
  byId("did").title = byId("did").textContent;
  byId("step").replaceChildren(...(passOf(stage) ? passText(passOf(stage)) : endText()));
  byId("passes").scrollTop = 0;
}

function stageChips() {
  const pass = passOf(stage);
  if (!pass) return [stage === 0 ? "The model before any pass." : foreseen ? "The program as it runs, with the costs of its plan." : "The program as it runs."];
  const here = data.graph ? data.graph.stages[stage] : null;
  const kinds = here ? Object.keys(SIGNS).filter((kind) => here[kind].length) : [];
  const chips = kinds.map((kind) => chip(kind, `${SIGNS[kind]}${here[kind].length} ${kind}`));
  if (here && here.moved) chips.push(chip("", `${here.moved} moved`));
  return [...chips, pass.changes ? "" : "Nothing to do. ", element("span", { class: "reason" }, pass.reason)];
}

function endText() {
  if (stage === 0) return [element("h2", {}, "Captured from the model"), element("p", {}, "The graph before any pass: the model as it was written.")];
  const made = [element("h2", {}, "Compiled"), element("p", {}, data.passes.length ? `What ${plural(data.passes.length, "pass").replace("passs", "passes")} left, as it runs.` : "This program was compiled without passes.")];
  const list = element("ol", { class: "passlist" });
  data.passes.forEach((pass, index) => {
    const told = element("li", {}, link(stageName(index + 1), () => goToStage(index + 1)), ` ${doneBy(index + 1)}`);
    list.append(told);
  });
  return [...made, list];
}

function passText(pass) {
  const made = [element("h2", {}, `${stageName(stage)}: pass ${stage} of ${data.passes.length}`)];
  if (breaksAt(stage)) made.push(element("ul", { class: "wrong" }, brokenItem(drawn)));
  if (pass.reason) made.push(element("p", {}, pass.reason));
  made.push(costTable(pass));
  if (!data.graph) made.push(element("p", {}, "This copy of the package has no graphs.json, so that its changes are not shown one by one."));
  made.push(...section("Replaced", pass.replaced, note));
  const here = data.graph ? data.graph.stages[stage] : { added: [], removed: [], changed: [], moved: 0 };
  if (here.moved) made.push(element("p", {}, `${plural(here.moved, "operation")} moved to another place.`));
  made.push(...section("Added", here.added, (number) => change("added", stageRows[number], null)));
  made.push(...section("Removed", here.removed, (number) => change("removed", stageRows[number], null)));
  made.push(...section("Changed", here.changed, ([was, now]) => change("changed", stageRows[now], stageRows[was])));
  made.push(...section("Left alone", pass.skipped, note));
  if (!pass.changes && !pass.skipped.length) made.push(element("p", {}, "It found nothing to do."));
  return made;
}

function costTable(pass) {
  const body = element("tbody");
  for (const [name, pair, text] of [["nodes", pass.nodes, String], ["bytes, estimated", pass.bytes, bytes], ["rounds, one by one", pass.rounds, String]]) {
    if (pair[0] === null) continue;
    const saved = pair[1] - pair[0];
    const kind = saved < 0 ? "fewer" : saved > 0 ? "more" : "";
    const told = saved ? `${saved < 0 ? "\u2212" : "+"}${text(Math.abs(saved))}` : "";
    const cells = [text(pair[0]), text(pair[1])].map((each) => element("td", {}, each));
    body.append(element("tr", {}, element("th", { scope: "row" }, name), ...cells, element("td", { class: kind }, told)));
  }
  const heads = ["", "before", "after", ""].map((each) => element("th", {}, each));
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
}

// The first rows of a long list; the others when they are asked for.
function section(title, items, draw) {
  if (!items.length) return [];
  const list = element("div", {}, ...items.slice(0, FIRST_SHOWN).map(draw));
  const made = [element("h2", {}, `${title} (${items.length})`), list];
  if (items.length > FIRST_SHOWN) {
    const more = element("button", { type: "button" }, `Show ${items.length - FIRST_SHOWN} more`);
    more.addEventListener("click", () => {
      list.append(...items.slice(FIRST_SHOWN).map(draw));
      more.remove();
    });
    made.push(more);
  }
  return made;
}

const note = (text) => element("div", { class: "change why" }, text);

function change(kind, row, was) {
  const title = element("div", {}, `${SIGNS[kind]} ${row.op} `, link(placeName(row.module), () => chooseRow(row.name)));
  const made = element("div", { class: `change ${kind}` }, title);
  if (was) made.append(element("code", {}, element("s", {}, was.text)));
  made.append(element("code", {}, row.text));
  const why = reasonOf(stage, row.name);
  if (why !== passOf(stage).reason) made.append(element("div", {}, why));
  return made;
}
