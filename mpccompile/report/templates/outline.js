// The values of a stage in groups: layers, and in them the modules of the model.
function outline(entries) {
  const root = { id: "", path: null, items: [], groups: new Map() };
  for (const entry of entries.values()) {
    let here = root;
    if (entry.row.op !== "input") {
      for (const path of pathsTo(entry.row.module)) here = inside(here, path);
    }
    here.items.push({ id: `n:${entry.row.name}`, entry });
  }
  root.items = root.items.map(shortened);
  return root;
}

// A layer and the modules below it that lead to one, by path.
function pathsTo(module) {
  const layer = layerOf(module);
  const below = module.slice(layer.length).split(".").filter(Boolean);
  return [layer, ...below.map((_, index) => `${layer}.${below.slice(0, index + 1).join(".")}`)];
}

function inside(group, path) {
  if (!group.groups.has(path)) {
    const made = { id: `g:${path}`, path, items: [], groups: new Map() };
    group.groups.set(path, made);
    group.items.push(made);
  }
  return group.groups.get(path);
}

// A group of one value is that value; one of one group has what is in that.
function shortened(item) {
  if (item.entry) return item;
  item.items = item.items.map(shortened);
  if (item.items.length > 1) return summed(item);
  const [only] = item.items;
  return only.entry ? only : Object.assign(only, { id: item.id, path: item.path });
}

function summed(group) {
  Object.assign(group, { count: 0, known: 0, bytes: 0, rounds: 0, critical: false, wrong: false, added: 0, removed: 0, changed: 0 });
  eachEntry(group, (entry) => {
    if (entry.kind !== "kept") group[entry.kind] += 1;
    group.wrong = group.wrong || isWrong(entry.row.name, stage);
    if (entry.kind === "removed") return;
    group[entry.row.secret ? "count" : "known"] += 1;
    group.bytes += entry.bytes;
    group.rounds += entry.rounds;
    group.critical = group.critical || entry.critical;
  });
  return group;
}

function eachEntry(item, act) {
  if (item.entry) act(item.entry);
  else item.items.forEach((each) => eachEntry(each, act));
}

// The groups and the item that stand for each value where only some groups are open, outermost first.
function visiblePaths(root, open) {
  const paths = new Map();
  const visit = (item, above) => {
    const path = [...above, item];
    if (!item.entry && open.has(item.path)) item.items.forEach((each) => visit(each, path));
    else eachEntry(item, (entry) => paths.set(entry.row.name, path));
  };
  root.items.forEach((item) => visit(item, []));
  return paths;
}

// The groups around a value, whether they are open or not.
function groupsAround(root, name) {
  const visit = (item, above) => {
    if (item.entry) return item.entry.row.name === name ? above : null;
    for (const each of item.items) {
      const found = visit(each, item.path === null ? above : [...above, item.path]);
      if (found) return found;
    }
    return null;
  };
  return visit(root, []) || [];
}

// Everything that is in a module at a stage, whether it is drawn as a group or not.
function groupOf(entries, path) {
  const inside = ({ row }) => row.op !== "input" && (!path || row.module === path || row.module.startsWith(`${path}.`));
  return summed({ items: [...entries.values()].filter(inside).map((entry) => ({ entry })) });
}
