// The places of the boxes of one group, as dagre finds them. Layers are alike, and so are stages: each arrangement is
// found once, which takes opening all of BERT-base from 0.4 s to 0.2 s.
const PORTS = { entry: "entry", exit: "exit" };
const arranged = new Map();

// Sizes are [width, height]; arrows [from, to, weight], by the number of the box or the name of a port.
function arrange(sizes, arrows) {
  const key = JSON.stringify([sizes, arrows]);
  if (!arranged.has(key)) arranged.set(key, arrangeAnew(sizes, arrows));
  return arranged.get(key);
}

function arrangeAnew(sizes, arrows) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "TB", nodesep: 26, edgesep: 14, ranksep: 34 });
  sizes.forEach(([width, height], index) => graph.setNode(String(index), { width, height }));
  for (const [from, to, weight] of arrows) {
    for (const end of [from, to]) if (end in PORTS) graph.setNode(end, { width: 1, height: 1 });
    graph.setEdge(String(from), String(to), { weight });
  }
  keepPortsOutside(graph, sizes.length);
  dagre.layout(graph);
  return withBends(graph, sizes, straightened(graph, arrows));
}

// dagre's size is that of the boxes, and its arrows may bend beside them.
function withBends(graph, sizes, bends) {
  const across = bends.flat().map(({ x }) => x);
  const aside = -Math.min(0, ...across);
  const port = (name) => (graph.hasNode(name) ? graph.node(name).x + aside : null);
  return {
    width: Math.max(graph.graph().width, ...across) + aside,
    height: graph.graph().height,
    centres: sizes.map((_, index) => graph.node(String(index))).map(({ x, y }) => ({ x: x + aside, y })),
    bends: bends.map((points) => points.map(({ x, y }) => ({ x: x + aside, y }))),
    ports: { entry: port(PORTS.entry), exit: port(PORTS.exit) },
  };
}

// dagre bends an arrow in the middle of each row that it passes: it goes straight down along the boxes of the row, or it
// would cut the corners of high ones.
function straightened(graph, arrows) {
  const heights = new Map();
  for (const name of graph.nodes()) {
    const { y, height } = graph.node(name);
    heights.set(Math.round(y), Math.max(height, heights.get(Math.round(y)) || 0));
  }
  const along = ({ x, y }) => {
    const half = (heights.get(Math.round(y)) || 0) / 2;
    return half ? [{ x, y: y - half }, { x, y: y + half }] : [{ x, y }];
  };
  return arrows.map(([from, to]) => {
    const { points } = graph.edge(String(from), String(to));
    const down = points[0].y < points[points.length - 1].y;
    // Between neighbouring rows nothing is in the way: the bend would only lead aside and back.
    if (points.length === 3) points.splice(1, 1);
    return down ? [points[0], ...points.slice(1, -1).flatMap(along), points[points.length - 1]] : points;
  });
}

// Everything else is below the port at the top and above the one at the bottom.
function keepPortsOutside(graph, count) {
  for (let index = 0; index < count; index += 1) {
    const name = String(index);
    const [first, last] = [!graph.predecessors(name).length, !graph.successors(name).length];
    if (graph.hasNode(PORTS.entry) && first) graph.setEdge(PORTS.entry, name, { weight: 0 });
    if (graph.hasNode(PORTS.exit) && last) graph.setEdge(name, PORTS.exit, { weight: 0 });
  }
}
