// The generated source, a line for each operation.
const lines = byId("lines");

function drawSource() {
  const made = data.source.map((text, index) => {
    const line = element("div", { class: "line", id: `line-${index + 1}` }, element("b", {}, String(index + 1)));
    const at = text.startsWith("#") ? 0 : text.indexOf("  # ");
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

function markLine(index) {
  const line = lineOf(index);
  line.setAttribute("aria-selected", "true");
  lines.setAttribute("aria-activedescendant", line.id);
}

function goToLine(index) {
  showTab("source");
  show(byId("source"), lineOf(index));
  lines.focus({ preventScroll: true });
}

lines.addEventListener("click", (event) => {
  const made = event.target.closest('[role="option"]');
  if (made) chooseStatement(atLine.get(Number(made.id.slice(5))));
});

lines.addEventListener("keydown", (event) => {
  const last = data.statements.length - 1;
  const inside = chosen.module === null ? [] : statementsIn(chosen.module);
  const here = chosen.index !== null ? chosen.index : inside.length ? inside[0] - 1 : -1;
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: last }[event.key];
  if (next === undefined || last < 0) return;
  event.preventDefault();
  chooseStatement(Math.max(0, Math.min(last, next)));
  if (document.activeElement !== lines) lines.focus({ preventScroll: true });
});
