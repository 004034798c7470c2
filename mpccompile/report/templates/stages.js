// The stages: captured, after each pass, compiled. What one shows, and what became of a value in all of them.
const LAST = data.passes.length + 1;
const SIGNS = { added: "+", removed: "\u2212", changed: "~" };
const stageRows = data.graph ? data.graph.rows : [];
let stage = LAST;

const passOf = (index) => (index > 0 && index < LAST ? data.passes[index - 1] : null);

function stageName(index) {
  if (data.graph) return data.graph.stages[index].name;
  return index === 0 ? "captured" : index === LAST ? "compiled" : data.passes[index - 1].name;
}

// Everything to be drawn at a stage by name: its values, and what its pass removed.
function entriesOf(index) {
  const here = data.graph.stages[index];
  const added = new Set(here.added);
  const changed = new Map(here.changed.map(([was, now]) => [now, was]));
  const entries = new Map();
  for (const number of here.rows) {
    const kind = added.has(number) ? "added" : changed.has(number) ? "changed" : "kept";
    const row = stageRows[number];
    entries.set(row.name, { row, kind, was: changed.has(number) ? stageRows[changed.get(number)] : null, ...costAt(row, index) });
  }
  for (const number of here.removed) {
    const row = stageRows[number];
    entries.set(row.name, { row, kind: "removed", was: null, ...costAt(row, index) });
  }
  here.path.forEach((number) => { entries.get(stageRows[number].name).critical = true; });
  return entries;
}

// What a value costs: by the plan where it is compiled, estimated before.
function costAt(row, index) {
  const statement = index === LAST ? data.statements[ofNode.get(row.name)] : null;
  if (index === LAST && !statement) return { bytes: 0, rounds: 0, critical: false };
  return { bytes: statement ? larger(statement) : row.bytes, rounds: statement ? statement.rounds : row.rounds, critical: false };
}

// The pairs of neighbours on a stage's critical path of rounds.
function pathOf(index) {
  const names = data.graph.stages[index].path.map((number) => stageRows[number].name);
  return new Set(names.slice(1).map((name, at) => `${names[at]} ${name}`));
}

let histories = null;
// Which stages made what of each name, in order: [stage, kind, the number of the row].
function historyOf(name) {
  if (!data.graph) return [];
  if (!histories) {
    histories = new Map();
    const note = (number, index, kind) => {
      const key = stageRows[number].name;
      if (!histories.has(key)) histories.set(key, []);
      histories.get(key).push([index, kind]);
    };
    data.graph.stages.forEach((each, index) => {
      if (index === 0) each.rows.forEach((number) => note(number, 0, "captured"));
      each.added.forEach((number) => note(number, index, "added"));
      each.removed.forEach((number) => note(number, index, "removed"));
      each.changed.forEach(([, number]) => note(number, index, "changed"));
    });
  }
  return histories.get(name) || [];
}

// The same of the value that has the name at this stage: a name can be given again once its value is gone.
function lifeOf(name) {
  const all = historyOf(name);
  const starts = all.flatMap(([index, kind], at) => (kind === "captured" || kind === "added" ? [[index, at]] : []));
  const mine = starts.filter(([index]) => index <= stage).pop();
  const next = starts.find(([index]) => index > stage);
  return mine ? all.slice(mine[1], next ? next[1] : all.length) : [];
}

// Why the pass of a stage did that to a value: what it noted of it, what its rule says, or else what the pass is for.
function reasonOf(index, name) {
  const pass = passOf(index);
  const noted = [...pass.replaced, ...pass.skipped].find((text) => text.startsWith(`%${name} `));
  if (noted) return noted.slice(noted.indexOf(": ") + 2);
  const rule = data.graph ? Object.entries(data.graph.stages[index].why).find(([, names]) => names.includes(name)) : null;
  return rule ? rule[0] : pass.reason;
}
