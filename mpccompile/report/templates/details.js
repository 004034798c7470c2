// What is known of the value or the module that is chosen.
function details(title, badges, pairs) {
  const list = element("dl");
  const told = pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  told.forEach(([name, value]) => list.append(element("dt", {}, name), element("dd", {}, value)));
  byId("details").replaceChildren(element("h2", {}, title, ...badges.filter(Boolean)), list);
}
const chip = (kind, text) => element("span", { class: `chip ${kind}` }, text);

const online = (predicted) =>
  `${seconds(predicted.loopback)} here, ${seconds(predicted.lan)} on a LAN, ${seconds(predicted.wan)} on a WAN`;

function planned(row) {
  const sent = larger(row);
  return [
    ["sends", sent ? `party 0: ${bytes(row.bytes[0])}, party 1: ${bytes(row.bytes[1])}` : counted ? "nothing" : "not known before it runs"],
    ["rounds", counted ? String(row.rounds) : ""],
    ["predicted", foreseen ? online(row.predicted) : ""],
    ["measured", row.seconds === null || row.seconds === undefined ? "" : seconds(row.seconds)],
  ];
}

function estimated({ bytes: sent, rounds }) {
  if (!foreseen) return [];
  const took = (network) => seconds(rounds * network.round_seconds + sent / network.bytes_per_second);
  return [
    ["sends", sent ? `${bytes(sent)} a party, estimated` : "nothing"],
    ["rounds", rounds ? `${rounds}, estimated, one by one` : "0"],
    ["predicted", sent || rounds ? `${took(data.networks.lan)} on a LAN, ${took(data.networks.wan)} on a WAN, estimated, for messages alone` : "no messages"],
  ];
}

function detailValue() {
  const statement = chosen.index === null ? null : data.statements[chosen.index];
  const entry = data.graph && chosen.name !== null ? graph.entries.get(chosen.name) : null;
  const row = entry ? entry.row : null;
  const secret = row ? row.secret : statement && statement.secret;
  const kind = entry && entry.kind !== "kept" ? entry.kind : "";
  const critical = stage === LAST && statement ? statement.critical || (entry && entry.critical) : entry && entry.critical;
  const module = row ? row.module : statement.module;
  details(
    row ? row.op : statement.op,
    [
      secret !== null && chip(secret ? "secret" : "public", secret ? "secret" : "public"),
      critical && chip("critical", "\u25c6 critical path"),
      kind && chip(kind, `${SIGNS[kind]} ${kind}`),
      row && isWrong(row.name, stage) && chip("wrong", `${WRONG} wrong first`),
    ],
    [
      ["broken", row && isWrong(row.name, stage) ? `${drawn.stage} ${drawn.what}; this value ${wrongText(drawn)}` : ""],
      ["why", kind ? reasonOf(stage, row.name) : ""],
      ["instead", kind === "removed" ? placeTaken(row.name) : ""],
      ["shape", shapeText(row ? row.shape : statement.shape)],
      ...(stage === LAST && statement ? planned(statement) : entry ? estimated(entry) : []),
      ["module", modules.has(module) ? link(placeName(module), () => chooseModule(module)) : placeName(module)],
      ["your source", row ? row.source : statement.source],
      ["model.py", lineText(row)],
      ["history", row ? historyList(row.name) : ""],
      ["was", entry && entry.was ? element("code", {}, entry.was.text) : ""],
      ["graph", row ? element("code", {}, row.text) : ""],
    ],
  );
}

function lineText(row) {
  const line = chosenLine();
  if (line) return link(`line ${line.id.slice(5)}`, goToLine);
  return row && row.op !== "input" ? "not in it: a pass removed it" : "";
}

// What is read in the place of a value that the pass of this stage removed: another value, or a stored tensor.
function placeTaken(name) {
  const taken = data.graph.stages[stage].became[name];
  if (!taken) return "";
  return graph.entries.has(taken) ? link(`%${taken}`, () => chooseRow(taken)) : `the stored tensor ${taken}`;
}

// A line for each pass that made something of a value, with the reason; each leads to the graph after it.
function historyList(name) {
  const list = element("ul");
  for (const [index, kind] of lifeOf(name)) {
    const pass = passOf(index);
    const made = element("li", {}, pass ? `${kind} by ` : "", link(pass ? stageName(index) : "captured from the model", () => goToStage(index)));
    if (pass) made.append(`: ${reasonOf(index, name)}`);
    list.append(made);
  }
  return list.childNodes.length ? list : "";
}

function detailModule(path) {
  const module = modules.get(path);
  const group = data.graph && stage !== LAST ? groupOf(graph.entries, path) : null;
  const whole = path === "" ? { ...data.total, count: data.total.statements, seconds: data.measured } : module;
  const told = group ? [["operations", String(group.count)], ...estimated(group), ["this pass", changeText(group)]] : whole ? [["operations", String(whole.count)], ...planned(whole)] : [];
  if (path === "") {
    details("the whole model", [], [...told, ["inputs", inputList()]]);
    return;
  }
  const critical = group ? group.critical : module && module.critical;
  details(placeName(path), [critical && chip("critical", "\u25c6 critical path")], told);
}

function inputList() {
  const list = element("ul");
  data.inputs.forEach((input) => list.append(element("li", {}, `${input.name}: ${input.dtype}${shapeText(input.shape)}, ${input.secrecy}`)));
  return list;
}
