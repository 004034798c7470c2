// Tabs, theme and the keys that work everywhere; then everything is drawn.
function showTab(id) {
  const tab = byId(`tab-${id}`);
  for (const other of tab.parentElement.children) {
    const on = other === tab;
    other.setAttribute("aria-selected", String(on));
    other.tabIndex = on ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !on;
  }
}

document.querySelectorAll('[role="tab"]').forEach((tab) => {
  const id = tab.getAttribute("aria-controls");
  tab.addEventListener("click", () => {
    showTab(id);
    if (id === "graph") revealChosen();
  });
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tab.nextElementSibling || tab.previousElementSibling;
    if (!other) return;
    other.click();
    other.focus();
  });
});

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
}
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(prefersDark.matches);
prefersDark.addEventListener("change", (event) => setTheme(event.matches));
byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));

const KEYS = { "/": () => search.focus(), "[": () => goToStage(stage - 1), "]": () => goToStage(stage + 1) };
const GRAPH_KEYS = { c: () => traced && toggleTrace(), "+": () => setZoom(view.zoom * ZOOMS.step), "-": () => setZoom(view.zoom / ZOOMS.step), 0: fitAll };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const act = KEYS[event.key] || (byId("graph").hidden ? undefined : GRAPH_KEYS[event.key]);
  if (!act) return;
  event.preventDefault();
  act();
});

function fact(name, value, title) {
  return element("div", { title: title || false }, element("dt", {}, name), element("dd", {}, value));
}

function countedFacts(total) {
  const chain = total.chain ? ` (${total.chain.longest_chain} critical)` : "";
  return [
    fact("a party sends", bytes(larger(total))),
    fact("rounds", `${total.rounds}${chain}`, "critical: on the longest chain of rounds that wait for each other"),
    fact("offline", bytes(total.offline_bytes), "what the dealer sends ahead"),
  ];
}

function predictedFacts(predicted) {
  return [
    fact("predicted here", seconds(predicted.loopback), "predicted, online, on one machine"),
    fact("on a LAN", seconds(predicted.lan), "predicted, online"),
    fact("on a WAN", seconds(predicted.wan), "predicted, online"),
  ];
}

function startPage() {
  const { total } = data;
  byId("total").append(
    fact("operations", String(total.statements)),
    ...(counted ? countedFacts(total) : []),
    ...(foreseen ? predictedFacts(total.predicted) : []),
    ...(data.measured === null ? [] : [fact("measured", seconds(data.measured), "online, in the profile")]),
  );
  startTree();
  drawSource();
  startStages();
  showTab("source");
  showTab(data.graph ? "graph" : "modules");
  byId("tab-graph").hidden = !data.graph;
  document.querySelectorAll(".of-path").forEach((made) => { made.hidden = !traced; });
  document.querySelectorAll(".of-costs").forEach((made) => { made.hidden = !counted; });
  if (data.graph) startGraph();
  chooseModule("");
  startBroken();
}
startPage();
