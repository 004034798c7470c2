// Zoom and pan of the graph: the pane scrolls, so that the browser does it smoothly; a drag scrolls it too.
const view = { zoom: 1, dragged: false, turned: 0, at: null }; // how far the wheel was turned since the last frame
const ZOOMS = { least: 0.05, readable: 0.3, most: 2, step: 1.25 };

// Zooms; the point of the pane at `at` stays in place, its middle unless said.
function setZoom(zoom, at) {
  const [x, y] = at || [pane.clientWidth / 2, pane.clientHeight / 2];
  const ratio = Math.min(ZOOMS.most, Math.max(ZOOMS.least, zoom)) / view.zoom;
  const before = cornerInPane();
  view.zoom *= ratio;
  sizePicture();
  const after = cornerInPane();
  pane.scrollLeft += after.x + (x - before.x) * ratio - x;
  pane.scrollTop += after.y + (y - before.y) * ratio - y;
}

function cornerInPane() {
  const [inner, around] = [picture.getBoundingClientRect(), pane.getBoundingClientRect()];
  return { x: inner.left - around.left, y: inner.top - around.top };
}

function sizePicture() {
  picture.setAttribute("width", graph.width * view.zoom);
  picture.setAttribute("height", graph.height * view.zoom);
  picture.classList.toggle("tiny", view.zoom < ZOOMS.readable);
  byId("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
}

// Laying out text is most of what a frame of a zoom costs. With all of BERT-base open that of boxes a screen away from
// sight, or too small to be read, is left out.
const watcher = new IntersectionObserver((seen) => {
  seen.forEach(({ target, isIntersecting }) => target.classList.toggle("afar", !isIntersecting));
}, { root: pane, rootMargin: "100%" });

function watchBoxes() {
  watcher.disconnect();
  graph.boxes.forEach(({ made }) => watcher.observe(made));
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
  if (!view.turned) requestAnimationFrame(() => {
    setZoom(view.zoom * Math.exp(-view.turned / 300), view.at);
    view.turned = 0;
  });
  view.turned += event.deltaY;
  view.at = [event.clientX - around.left, event.clientY - around.top];
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
