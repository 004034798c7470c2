// Where boxes and arrows go, group by group: an open group is a box in the group around it, and what reads through its
// frame goes through one port at its top and one at its bottom.
const SIZES = { node: 44, group: 62, header: 28, pad: 14, narrow: 132, wide: 250 };
// What more boxes of a group read than this is named at them instead: twelve layers that read one mask would otherwise
// stand twelve arrows apart. The reader that stands highest has its arrow.
const MOST_ARROWS = 4;
const ENTRY = { id: PORTS.entry };
const EXIT = { id: PORTS.exit };

const pen = document.createElement("canvas").getContext("2d");
const widths = new Map();
function widthOf(text, font) {
  const key = `${font} ${text}`;
  if (!widths.has(key)) {
    pen.font = `${font} system-ui, sans-serif`;
    widths.set(key, pen.measureText(text).width);
  }
  return widths.get(key);
}

function cut(text, width, font) {
  if (widthOf(text, font) <= width) return text;
  let kept = text.length;
  while (kept > 1 && widthOf(`\u2026${text.slice(-kept)}`, font) > width) kept -= 1;
  return `\u2026${text.slice(-kept)}`;
}

// The arrows of each group: everything that flows from one of its items to another is one arrow.
function bundles(entries, paths, root) {
  const found = new Map();
  const add = (group, from, to, pair) => {
    if (!found.has(group)) found.set(group, new Map());
    const key = `${from.id} ${to.id}`;
    if (!found.get(group).has(key)) found.get(group).set(key, { from, to, pairs: [] });
    found.get(group).get(key).pairs.push(pair);
  };
  for (const { row } of entries.values()) {
    for (const name of row.reads) {
      const [up, down] = [paths.get(name), paths.get(row.name)];
      if (!up || !down || up[up.length - 1] === down[down.length - 1]) continue;
      const pair = `${name} ${row.name}`;
      let level = 0;
      while (up[level] === down[level]) level += 1;
      add(level ? up[level - 1] : root, up[level], down[level], pair);
      for (let at = level + 1; at < up.length; at += 1) add(up[at - 1], up[at], EXIT, pair);
      for (let at = level + 1; at < down.length; at += 1) add(down[at - 1], ENTRY, down[at], pair);
    }
  }
  return found;
}

function measure(item) {
  if (item.entry) {
    const { row } = item.entry;
    const below = widthOf(shapeText(row.shape), "11px") + widthOf(costText(item.entry), "11px") + 16;
    const input = row.op === "input";
    const title = widthOf(input ? row.name : row.op, "600 13px") + (input ? 0 : widthOf(tail(item), "11px")) + 44;
    return [Math.min(SIZES.wide, Math.max(SIZES.narrow, title, below + 24)), SIZES.node];
  }
  const title = widthOf(item.label, "600 13px") + widthOf(changeText(item), "600 12px") + 72;
  return [Math.min(320, Math.max(210, title, widthOf(sumText(item), "11px") + 40)), SIZES.group];
}

// Gives every item of a group its size and its place in the group, and every arrow its points.
function place(group, around, open, flows) {
  const [arrows, named] = apart([...((flows.get(group) || new Map()).values())]);
  for (const item of group.items) {
    label(item, around);
    item.open = !item.entry && open.has(item.path);
    if (item.open) place(item, item.path, open, flows);
    else [item.width, item.height] = measure(item);
  }
  const numbers = new Map([[ENTRY, PORTS.entry], [EXIT, PORTS.exit], ...group.items.map((item, index) => [item, index])]);
  const found = arrange(
    group.items.map(({ width, height }) => [Math.round(width), height]),
    arrows.map(({ from, to, pairs }) => [numbers.get(from), numbers.get(to), Math.min(pairs.length, 4)]),
  );
  const [left, top] = sized(group, found);
  group.items.forEach((item, index) => {
    item.x = left + found.centres[index].x - item.width / 2;
    item.y = top + found.centres[index].y - item.height / 2;
  });
  const port = (x) => (x === null ? group.width / 2 : left + x);
  group.ports = { top: port(found.ports.entry), bottom: port(found.ports.exit) };
  group.arrows = arrows.map((arrow, index) => ({ ...arrow, points: pointsOf(arrow, group, found.bends[index], left, top) }));
  group.named = named;
}

// Makes a group as large as what is in it, and returns where that begins.
function sized(group, found) {
  const whole = group.path === null;
  // A port takes a row of its own, which need not be as high as the others.
  const top = whole ? SIZES.pad : SIZES.header + SIZES.pad / 2 - (found.ports.entry === null ? 0 : 12);
  group.width = Math.max(found.width + 2 * SIZES.pad, whole ? 0 : headWidth(group));
  group.height = found.height + top + SIZES.pad - (found.ports.exit === null ? 0 : 22);
  return [(group.width - found.width) / 2, top];
}

function apart(arrows) {
  const readers = new Map();
  for (const arrow of arrows) {
    if (arrow.from === ENTRY || arrow.to === EXIT) continue;
    if (!readers.has(arrow.from)) readers.set(arrow.from, []);
    readers.get(arrow.from).push(arrow);
  }
  const depth = depths(arrows);
  const named = new Set();
  for (const many of readers.values()) {
    if (many.length <= MOST_ARROWS) continue;
    many.sort((one, two) => depth(one.to) - depth(two.to)).slice(1).forEach((arrow) => named.add(arrow));
  }
  return [arrows.filter((arrow) => !named.has(arrow)), [...named]];
}

// How many arrows lead to an item on the longest way; what leads back to an item on its own way does not count.
function depths(arrows) {
  const sources = new Map();
  arrows.forEach(({ from, to }) => sources.set(to, [...(sources.get(to) || []), from]));
  const known = new Map();
  const depth = (item) => {
    if (known.has(item)) return known.get(item);
    known.set(item, 0);
    known.set(item, 1 + Math.max(-1, ...(sources.get(item) || []).map(depth)));
    return known.get(item);
  };
  return depth;
}

const headWidth = (group) => widthOf(group.label, "600 13px") + Math.max(widthOf(sumText(group), "11px"), widthOf(changeText(group), "600 12px")) + 60;

function pointsOf({ from, to }, group, points, left, top) {
  const placed = points.map(({ x, y }) => [x + left, y + top]);
  const last = placed.length - 1;
  const within = (item, x) => Math.min(item.x + item.width - 16, Math.max(item.x + 16, x));
  const down = placed[0][1] < placed[last][1];
  if (from === ENTRY) placed[0] = [group.ports.top, SIZES.header];
  else if (from.open) placed[0] = [from.x + from.ports.bottom, from.y + from.height];
  else if (down) placed[0] = [within(from, placed[0][0]), from.y + from.height];
  if (to === EXIT) placed[last] = [group.ports.bottom, group.height];
  else if (to.open) placed[last] = [to.x + to.ports.top, to.y];
  else if (down) placed[last] = [within(to, placed[last][0]), to.y];
  return placed;
}

// What a box is called in the group around it.
function label(item, around) {
  const path = item.entry ? item.entry.row.module : item.path;
  const short = around !== null && path.startsWith(`${around}.`) ? path.slice(around.length + 1) : path === around ? "" : path;
  item.label = item.entry ? short : short || placeName(path);
}
const tail = (item) => (item.label ? `  ${item.label}` : "");

function costText(cost) {
  const parts = [cost.bytes ? bytes(cost.bytes) : "", cost.rounds ? plural(cost.rounds, "round") : ""];
  return parts.filter(Boolean).join(" \u00b7 ");
}
// Operations on shares are counted apart from those that either party does by itself.
function sumText(group) {
  const known = group.known ? `${group.known} public` : "";
  const count = group.count || !known ? plural(group.count, "op") : "";
  return [[count, known].filter(Boolean).join(" + "), costText(group)].filter(Boolean).join(" \u00b7 ");
}
const changeText = (group) => Object.keys(SIGNS).filter((kind) => group[kind]).map((kind) => `${SIGNS[kind]}${group[kind]}`).join(" ");
