// Tabs, theme, search and the keys that work everywhere; then everything is drawn.
const MOST_FOUND = 200;

function showTab(id) {
  const tab = byId(`tab-${id}`);
  for (const other of tab.parentElement.children) {
    const on = other === tab;
    other.setAttribute("aria-selected", String(on));
    other.tabIndex = on ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !on;
  }
  if (id === "modules" || id === "layers") byId("found").hidden = true;
}

document.querySelectorAll('[role="tab"]').forEach((tab) => {
  const id = tab.getAttribute("aria-controls");
  tab.addEventListener("click", () => showTab(id));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tab.nextElementSibling || tab.previousElementSibling;
    showTab(other.getAttribute("aria-controls"));
    other.focus();
  });
});

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
}
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(prefersDark.matches);
prefersDark.addEventListener("change", (event) => setTheme(event.matches));
byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));

const search = byId("search");
const searched = data.statements.map((statement) => {
  const parts = [statement.op, statement.variable, `%${statement.node}`, statement.module, statement.source, shapeText(statement.shape)];
  return [...parts, data.source[statement.line - 1]].join("\n").toLowerCase();
});

function find() {
  const wanted = search.value.trim().toLowerCase();
  lines.querySelectorAll(".hit").forEach((made) => made.classList.remove("hit"));
  if (!wanted) {
    showTab("modules");
    return;
  }
  const found = byId("found");
  const hits = searched.flatMap((text, index) => (text.includes(wanted) ? [index] : []));
  const places = [...modules.keys()].filter((path) => path.toLowerCase().includes(wanted));
  const passes = data.passes.flatMap((pass, index) => (pass.name.includes(wanted) ? [index] : []));
  hits.forEach((index) => lineOf(index).classList.add("hit"));
  const items = [
    ...passes.map((index) => item(data.passes[index].stage || data.passes[index].name, "pass", () => goToPass(index))),
    ...places.map((path) => item(path, "module", () => goToModule(path))),
    ...hits.map((index) => {
      const statement = data.statements[index];
      return item(`${statement.variable} ${shapeText(statement.shape)}`, `${statement.module || "the model itself"}, line ${statement.line}`, () => goTo(index));
    }),
  ];
  const rest = items.length > MOST_FOUND ? `; the first ${MOST_FOUND} are shown` : "";
  found.replaceChildren(element("p", { role: "status" }, `${items.length} found${rest}`), ...items.slice(0, MOST_FOUND).map((make) => make()));
  byId("modules").hidden = byId("layers").hidden = true;
  found.hidden = false;
}

function item(title, place, go) {
  return () => {
    const made = element("button", { type: "button" }, title, element("span", {}, place));
    made.addEventListener("click", go);
    return made;
  };
}

function goTo(index) {
  showTab("modules");
  select(index);
  focusRow(rows.get(`s${index}`));
}

function goToModule(path) {
  showTab("modules");
  openDownTo(path);
  selectModule(path);
  focusRow(rows.get(`m${path}`));
}

search.addEventListener("input", find);
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
  const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!next) return;
  event.preventDefault();
  const other = event.target[next];
  (other && other.tagName === "BUTTON" ? other : search).focus();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const act = { "/": () => search.focus(), "[": () => goToPass(step - 1), "]": () => goToPass(step + 1) }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function startPage() {
  const total = data.total;
  const chain = total.chain ? `, ${total.chain.longest_chain} of them the critical path` : "";
  const took = data.measured === null ? "" : `; measured ${seconds(data.measured)}`;
  byId("total").textContent =
    `${plural(total.statements, "statement")}; each party sends up to ${bytes(larger(total))} in ${plural(total.rounds, "round")}${chain}; ` +
    `offline ${bytes(total.offline_bytes)}; network time ${seconds(total.network.lan)} on a LAN, ${seconds(total.network.wan)} on a WAN${took}`;
  startTree();
  drawSource();
  startPasses();
  drawFlow();
  showTab("modules");
  showTab("source");
  selectModule("");
}
startPage();
