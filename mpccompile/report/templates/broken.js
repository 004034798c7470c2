// What `show --debug` found: the passes that broke the model, and on the graph the value that is wrong first.
const WRONG = "\u2717";
const broken = data.broken || [];
// The graphs end with the pass that is drawn: what it left is what was compiled.
const drawn = Number.isInteger(data.drawn) ? broken[data.drawn] : null;
const BROKEN_AT = drawn ? LAST - 1 : null;

const breaksAt = (index) => drawn !== null && index === BROKEN_AT;
const isWrong = (name, index) => drawn !== null && name === drawn.node && index >= BROKEN_AT;
const wrongText = (found) => `is wrong first: ${found.error === null ? "it cannot be compared" : `off by ${found.error.toExponential(1)} of its size`}`;

function wrongBadge() {
  const made = shape("g", { class: "badge wrong", transform: "translate(4 3)" });
  made.append(shape("circle", { r: 9 }), shape("text", { y: 4, "text-anchor": "middle" }, WRONG));
  return made;
}

function goToWrong() {
  goToStage(BROKEN_AT);
  if (drawn.node) chooseRow(drawn.node);
}

function brokenItem(found) {
  const made = element("li", {}, element("strong", {}, `${WRONG} ${found.stage}`), ` ${found.what.replace(/\.$/, "")}. `);
  if (!found.node) return made;
  const name = `%${found.node} = ${found.op}`;
  const place = ` at ${placeName(found.module_path)} ${wrongText(found)}.`;
  made.append(found === drawn ? link(name, goToWrong) : name, place);
  if (found !== drawn) made.append(" Leave out the passes before it, and it is drawn.");
  return made;
}

function startBroken() {
  if (!broken.length) return;
  byId("broken").append(element("ul", {}, ...broken.map(brokenItem)));
  byId("broken").hidden = false;
  byId("legend").append(element("span", { class: "wrong" }, `${WRONG} wrong first`));
  if (drawn && data.graph) goToWrong();
}
