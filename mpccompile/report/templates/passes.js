// One pass at a time: what it cost and saved, what it changed, and why it left other places alone.
const FIRST_SHOWN = 60;
let step = 0;

function goToPass(index) {
  if (!data.passes.length) return;
  step = Math.max(0, Math.min(data.passes.length - 1, index));
  showTab("passes");
  drawStep();
}

function startPasses() {
  const choice = byId("pass");
  data.passes.forEach((pass, index) => {
    const said = pass.changes ? plural(pass.changes, "change") : "nothing to do";
    choice.append(element("option", { value: index }, `${index + 1}. ${pass.stage || pass.name} (${said})`));
  });
  choice.addEventListener("change", () => goToPass(Number(choice.value)));
  byId("previous").addEventListener("click", () => goToPass(step - 1));
  byId("next").addEventListener("click", () => goToPass(step + 1));
  drawStep();
}

function drawStep() {
  const pass = data.passes[step];
  byId("previous").disabled = step <= 0;
  byId("next").disabled = step >= data.passes.length - 1;
  byId("pass").disabled = !pass;
  if (!pass) {
    byId("step").replaceChildren(element("p", {}, "This program was compiled without passes."));
    return;
  }
  byId("pass").value = String(step);
  const made = [element("h2", {}, `${pass.stage || pass.name}: pass ${step + 1} of ${data.passes.length}`), costTable(pass)];
  if (!data.graphs) made.push(element("p", {}, "This copy of the package has no graphs.json, so that its changes are not shown one by one."));
  if (pass.moved) made.push(element("p", {}, `${plural(pass.moved, "operation")} moved to another place.`));
  made.push(...section("Replaced", pass.replaced, reason), ...section("Left alone", pass.skipped, reason));
  for (const kind of ["added", "removed", "changed"]) {
    made.push(...section(kind[0].toUpperCase() + kind.slice(1), pass[kind] || [], (row) => change(kind, row, pass)));
  }
  if (!pass.changes && !pass.skipped.length) made.push(element("p", {}, "It found nothing to do."));
  byId("step").replaceChildren(...made);
  byId("passes").scrollTop = 0;
}

function costTable(pass) {
  const body = element("tbody");
  for (const [name, pair, text] of [["nodes", pass.nodes, String], ["bytes, estimated", pass.bytes, bytes], ["rounds, one by one", pass.rounds, String]]) {
    if (pair[0] === null) continue;
    const saved = pair[1] - pair[0];
    const kind = saved < 0 ? "less" : saved > 0 ? "more" : "";
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

const reason = (text) => element("div", { class: "change why" }, text);

function change(kind, row, pass) {
  const title = element("div", {}, `${{ added: "+", removed: "\u2212", changed: "~" }[kind]} ${row.op} `);
  const index = kind === "removed" ? undefined : ofNode.get(row.name);
  if (index === undefined) {
    title.append(row.module || "the model itself");
  } else {
    const link = element("button", { class: "link", type: "button" }, row.module || "the model itself");
    link.addEventListener("click", () => select(index));
    title.append(link);
  }
  const made = element("div", { class: `change ${kind}` }, title);
  if (row.was !== undefined) made.append(element("code", {}, element("s", {}, row.was)));
  made.append(element("code", {}, row.text));
  const why = [...pass.replaced, ...pass.skipped].filter((text) => text.startsWith(`%${row.name} `));
  why.forEach((text) => made.append(element("div", {}, text.slice(text.indexOf(": ") + 2))));
  return made;
}
