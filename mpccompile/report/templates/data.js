// The data of the page, and how it is written down.
const data = JSON.parse(document.getElementById("data").textContent);
// Of stock CrypTen nothing is known before it runs; bytes and rounds are where a profile has them.
const foreseen = data.target !== "crypten";
const counted = data.total.bytes !== null;
const traced = data.graph !== null && data.graph.stages.some(({ path }) => path.length);
const byId = (id) => document.getElementById(id);

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
const element = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const SVG = byId("picture").namespaceURI;
const shape = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function link(text, go) {
  const made = element("button", { class: "link", type: "button" }, text);
  made.addEventListener("click", go);
  return made;
}

function decimal(count, units, step) {
  let unit = 0;
  while (count >= step && unit < units.length - 1) {
    count /= step;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}
const bytes = (count) => decimal(count, ["B", "kB", "MB", "GB"], 1000);
const larger = (row) => (row.bytes === null ? 0 : Math.max(...row.bytes));
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const shapeText = (sizes) => `[${sizes.join(", ")}]`;
const placeName = (path) => path || "the model itself";

function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value >= 1 || value === 0) return `${value && value.toFixed(2)} s`;
  // 0.01 ms is the least that is written as such.
  return value < 1e-5 ? `${(value * 1e6).toFixed(1)} \u00b5s` : `${(value * 1000).toFixed(value >= 0.1 ? 0 : 2)} ms`;
}

// How many parts all modules' paths begin with: one, where a model was wrapped to be exported.
function sharedParts(paths) {
  const split = paths.filter(Boolean).map((path) => path.split("."));
  if (!split.length) return 0;
  const differs = split[0].findIndex((part, index) => split.some((parts) => parts[index] !== part));
  return differs < 0 ? 0 : differs;
}
const SHARED = sharedParts(data.statements.map((statement) => statement.module));

// The layer a module is in: down to the first number in its path, or else the first two parts that are its own.
function layerOf(path) {
  const parts = path.split(".");
  const number = parts.findIndex((part) => /^\d+$/.test(part));
  return parts.slice(0, (number < 0 ? SHARED + 1 : number) + 1).join(".");
}

// Every value has a line of model.py; those that send or hold shares are statements, numbered in the order of the program.
const ofNode = new Map(data.statements.map((statement, index) => [statement.node, index]));
const atLine = new Map(data.statements.map((statement, index) => [statement.line, index]));
const lineOfName = new Map(data.graph ? Object.entries(data.graph.lines) : []);
const nameAtLine = new Map([...lineOfName].map(([name, line]) => [line, name]));
