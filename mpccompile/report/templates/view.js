// Zoom and pan of the graph: the pane scrolls, so that the browser does it smoothly; a drag scrolls it too.
const view = { zoom: 1, dragged: false };
const ZOOMS = { least: 0.05, most: 2, step: 1.25 };

// Zooms; the point of the pane at `at` stays in place, its middle unless said.
function setZoom(zoom, at) {
  const [x, y] = at || [pane.clientWidth / 2, pane.clientHeight / 2];
  const ratio = Math.min(ZOOMS.most, Math.max(ZOOMS.least, zoom)) / view.zoom;
  const [left, top] = [(pane.scrollLeft + x) * ratio - x, (pane.scrollTop + y) * ratio - y];
  view.zoom *= ratio;
  sizePicture();
  [pane.scrollLeft, pane.scrollTop] = [left, top];
}

function sizePicture() {
  picture.setAttribute("viewBox", `0 0 ${graph.width} ${graph.height}`);
  picture.setAttribute("width", graph.width * view.zoom);
  picture.setAttribute("height", graph.height * view.zoom);
  byId("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
}

// As large as it is, or as wide as the pane if that can still be read.
function fitWidth() {
  setZoom(Math.max(0.6, Math.min(1, (pane.clientWidth - 4) / graph.width)));
  pane.scrollLeft = (pane.scrollWidth - pane.clientWidth) / 2;
}

function fitAll() {
  setZoom(Math.min(1, (pane.clientWidth - 4) / graph.width, (pane.clientHeight - 4) / graph.height));
}

// Scrolls the pane alone, and only as far as a box is out of sight.
function intoSight(made) {
  const [box, around] = [made.querySelector(".bar, .card").getBoundingClientRect(), pane.getBoundingClientRect()];
  const shift = (start, end, low, high) => (start < low + 56 ? start - low - (high - low) / 3 : end > high - 24 ? end - high + (high - low) / 3 : 0);
  pane.scrollTop += shift(box.top, box.bottom, around.top, around.bottom);
  if (box.width < around.width) pane.scrollLeft += shift(box.left, box.right, around.left, around.right);
}

pane.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  const around = pane.getBoundingClientRect();
  setZoom(view.zoom * Math.exp(-event.deltaY / 300), [event.clientX - around.left, event.clientY - around.top]);
}, { passive: false });

// A finger scrolls the pane by itself.
pane.addEventListener("pointerdown", (event) => {
  view.dragged = false;
  if (event.pointerType !== "mouse" || event.button !== 0) return;
  const start = { x: event.clientX, y: event.clientY, left: pane.scrollLeft, top: pane.scrollTop };
  const move = (moved) => {
    const [x, y] = [moved.clientX - start.x, moved.clientY - start.y];
    if (!view.dragged && Math.hypot(x, y) < 5) return;
    view.dragged = true;
    pane.classList.add("dragged");
    [pane.scrollLeft, pane.scrollTop] = [start.left - x, start.top - y];
  };
  const end = () => {
    pane.classList.remove("dragged");
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
});

function toggleTrace() {
  const on = !picture.classList.contains("trace");
  picture.classList.toggle("trace", on);
  byId("trace").setAttribute("aria-pressed", String(on));
}

byId("trace").addEventListener("click", toggleTrace);
byId("closer").addEventListener("click", () => setZoom(view.zoom * ZOOMS.step));
byId("farther").addEventListener("click", () => setZoom(view.zoom / ZOOMS.step));
byId("fit").addEventListener("click", fitAll);
byId("open-all").addEventListener("click", () => openAll(true));
byId("close-all").addEventListener("click", () => openAll(false));
