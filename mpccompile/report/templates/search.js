// Search over operations, modules, lines and passes; a value that only this stage has is found too.
const MOST_FOUND = 200;
const search = byId("search");
const searched = data.statements.map((statement) => {
  const parts = [statement.op, statement.variable, `%${statement.node}`, statement.module, statement.source, shapeText(statement.shape)];
  return [...parts, data.source[statement.line - 1]].join("\n").toLowerCase();
});

function find() {
  const wanted = search.value.trim().toLowerCase();
  lines.querySelectorAll(".hit").forEach((made) => made.classList.remove("hit"));
  const found = byId("found");
  found.hidden = !wanted;
  if (!wanted) return;
  const named = (index) => data.statements[index].op.toLowerCase().includes(wanted);
  const all = searched.flatMap((text, index) => (text.includes(wanted) ? [index] : []));
  all.forEach((index) => lineOf(index).classList.add("hit"));
  const statementItems = (indices) => indices.map((index) => statementItem(data.statements[index], index));
  // Operations of that name come first: Enter leads to the first.
  const items = [
    ...statementItems(all.filter(named)),
    ...data.passes.flatMap((pass, index) => (pass.name.includes(wanted) ? [item(stageName(index + 1), "pass", () => goToStage(index + 1))] : [])),
    ...[...modules.keys()].filter((path) => path.toLowerCase().includes(wanted)).map((path) => item(path, "module", () => goToModule(path))),
    ...statementItems(all.filter((index) => !named(index))),
    ...stageItems(wanted),
  ];
  const rest = items.length > MOST_FOUND ? `; the first ${MOST_FOUND} are shown` : "";
  found.replaceChildren(element("p", { role: "status" }, `${items.length} found${rest}`), ...items.slice(0, MOST_FOUND).map((make) => make()));
}

function statementItem(statement, index) {
  return item(`${statement.variable} ${shapeText(statement.shape)}`, `${placeName(statement.module)}, line ${statement.line}`, () => goTo(index));
}

function stageItems(wanted) {
  const only = [...graph.entries.values()].filter(({ row }) => !ofNode.has(row.name) && `${row.op}\n${row.module}\n${row.text}`.toLowerCase().includes(wanted));
  return only.map(({ row }) => item(`%${row.name} ${shapeText(row.shape)}`, `${placeName(row.module)}, ${row.op}, at this stage`, () => chooseRow(row.name)));
}

function item(title, place, go) {
  return () => {
    const made = element("button", { type: "button" }, title, element("span", {}, place));
    made.addEventListener("click", () => {
      byId("found").hidden = true;
      go();
    });
    return made;
  };
}

// Focus follows to the view on the screen.
function focusChosen(key) {
  const box = data.graph && !byId("graph").hidden ? chosenBox() : null;
  if (box) box.made.focus({ preventScroll: true });
  else focusRow(rows.get(key));
}

function goTo(index) {
  chooseStatement(index);
  focusChosen(`s${index}`);
}

function goToModule(path) {
  chooseModule(path);
  focusChosen(`m${path}`);
}

search.addEventListener("input", find);
search.addEventListener("focus", find);
search.addEventListener("keydown", (event) => {
  const first = byId("found").querySelector("button");
  if (event.key === "Escape") {
    search.value = "";
    find();
  } else if (event.key === "Enter" && first) {
    first.click();
  } else if (event.key === "ArrowDown" && first) {
    event.preventDefault();
    first.focus();
  }
});
byId("found").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    search.focus();
    byId("found").hidden = true;
    return;
  }
  const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!next) return;
  event.preventDefault();
  const other = event.target[next];
  (other && other.tagName === "BUTTON" ? other : search).focus();
});
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".search")) byId("found").hidden = true;
});
