// The generated source, a line for each operation.
const lines = byId("lines");

function drawSource() {
  const made = data.source.map((text, index) => {
    const line = element("div", { class: "line", id: `line-${index + 1}` }, element("b", {}, String(index + 1)));
    const at = text.startsWith("#") ? 0 : text.indexOf("  # ");
    line.append(at < 0 ? text : text.slice(0, at));
    if (at >= 0) line.append(element("i", {}, text.slice(at)));
    const statement = data.statements[atLine.get(index + 1)];
    if (statement || nameAtLine.has(index + 1)) {
      line.setAttribute("role", "option");
      line.setAttribute("aria-selected", "false");
      if (statement && statement.critical) line.classList.add("critical-line");
    } else {
      line.setAttribute("role", "presentation");
    }
    return line;
  });
  lines.append(...made);
}

const lineOf = (index) => byId(`line-${data.statements[index].line}`);

function markLine(line) {
  line.setAttribute("aria-selected", "true");
  lines.setAttribute("aria-activedescendant", line.id);
}

// The line of what is chosen, if model.py has one.
function chosenLine() {
  return chosen.index !== null ? lineOf(chosen.index) : lineOfName.has(chosen.name) ? byId(`line-${lineOfName.get(chosen.name)}`) : null;
}

function goToLine() {
  showTab("source");
  show(byId("source"), chosenLine());
  lines.focus({ preventScroll: true });
}

function chooseLine(line) {
  const number = Number(line.id.slice(5));
  if (atLine.has(number)) chooseStatement(atLine.get(number));
  else chooseNamed(nameAtLine.get(number));
}

lines.addEventListener("click", (event) => {
  const made = event.target.closest('[role="option"]');
  if (made) chooseLine(made);
});

lines.addEventListener("keydown", (event) => {
  const all = [...lines.querySelectorAll('[role="option"]')];
  const inside = chosen.module ? statementsIn(chosen.module) : [];
  const here = inside.length ? all.indexOf(lineOf(inside[0])) - 1 : all.indexOf(chosenLine());
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
  if (next === undefined || !all.length) return;
  event.preventDefault();
  chooseLine(all[Math.max(0, Math.min(all.length - 1, next))]);
});
