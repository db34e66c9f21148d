"use strict";

const at = (id) => document.getElementById(id);
let offer = null;
let upload = null;

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The playground does not answer. Is it still running?");
  }
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.error}. ${body.remedy}`.trim());
  return body;
}

function say(text, isError) {
  at("message").textContent = text;
  at("message").className = isError ? "error" : "";
}

function fill(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
}

// Budget names are identifiers: "step_size" reads as "step size".
function budgetText(budget) {
  const rounded = (number) => String(Number(number.toPrecision(3)));
  return Object.entries(budget).map(([name, number]) => `${name.replaceAll("_", " ")} ${rounded(number)}`).join(", ");
}

// ---- the form

const attack = () => offer.attacks.find((one) => one.name === at("attack").value);
const onServer = () => at("place").value === "server";

function refresh() {
  const chosen = attack();
  const before = at("threat").value;
  const kinds = chosen ? chosen.threats : Object.keys(offer.threats);
  fill(at("threat"), kinds.map((kind) => [kind, offer.threats[kind].title]));
  at("threat").value = kinds.includes(before) ? before : kinds[0];
  if (at("threat").value !== before) sized();
  for (const id of ["threat", "size", "seed"]) at(id).disabled = !chosen;
  for (const id of ["defence", "policy"]) at(id).disabled = onServer();
  const asks = onServer() && chosen && chosen.name === "square";
  at("where").hidden = !onServer();
  at("where").textContent = asks
    ? `The attack asks the server, at most ${offer.server.budget.queries} times and once more to be sure.`
    : "The attack is made on the artifact here, as a copy; its result is sent to the server. Policy and "
      + "preprocessing are the server's own.";
  at("knows").textContent = chosen ? described(chosen, asks ? offer.server.budget : chosen.budget) : "";
}

function described(chosen, budget) {
  const knows = chosen.knows === "network" ? "White box: knows the network." : "Black box: asks for answers only.";
  return `${knows} Budget: ${budgetText(budget)}. ${chosen.source}.`;
}

function sized() {
  const threat = offer.threats[at("threat").value];
  at("size").value = Number(threat.size.toPrecision(4));
  at("size").max = threat.largest;
}

function preview() {
  if (upload === null && at("index").checkValidity()) at("preview").src = `api/images/${at("index").value}`;
}

function choose() {
  const file = at("file").files[0];
  if (!file) return forget();
  if (file.size > 4 * 1024 * 1024) {
    forget();
    return say("The file is too large. Give one of at most 4 MiB.", true);
  }
  const reader = new FileReader();
  reader.onload = () => {
    upload = reader.result.slice(reader.result.indexOf(",") + 1);
    at("preview").src = reader.result;
    at("forget").hidden = false;
    at("index").disabled = true;
  };
  reader.readAsDataURL(file);
}

function forget() {
  upload = null;
  at("file").value = "";
  at("forget").hidden = true;
  at("index").disabled = false;
  preview();
}

function trialOf() {
  const trial = {
    attack: at("attack").value, threat: at("threat").value, size: Number(at("size").value),
    seed: Number(at("seed").value), place: at("place").value, policy: at("policy").value,
  };
  if (!onServer()) trial.defence = at("defence").value;
  if (upload === null) trial.index = Number(at("index").value); else trial.upload = upload;
  return trial;
}

// ---- the result

function labelRow([label, probability]) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const bar = document.createElement("meter");
  const number = document.createElement("span");
  name.textContent = label;
  bar.value = probability;
  bar.setAttribute("aria-hidden", "true");
  number.textContent = `${(100 * probability).toFixed(1)} %`;
  row.append(name, bar, number);
  return row;
}

function showSide(article, side, picture) {
  article.querySelector("img").src = picture;
  const verdict = article.querySelector(".verdict");
  const p = side.p_value === null ? "" : ` (p = ${side.p_value.toPrecision(2)})`;
  verdict.textContent = side.verdict === null ? "no verdict" : `${side.verdict}${p}`;
  verdict.className = `verdict ${side.verdict === null ? "untold" : side.verdict}`;
  article.querySelector("ol").replaceChildren(...side.labels.map(labelRow));
  article.querySelector(".answer").textContent = `The caller gets: ${side.answer}`;
}

function show(outcome) {
  showSide(at("before"), outcome.before, outcome.pictures[0]);
  showSide(at("after"), outcome.after, outcome.pictures[1]);
  at("change").querySelector("img").src = outcome.difference;
  at("change").querySelector(".moved").textContent = `${outcome.change}, shown × ${outcome.factor.toPrecision(3)}`;
  const spent = outcome.queries === null ? [] : [`The attack asked the server ${outcome.queries} times.`];
  if (Object.keys(outcome.budget).length) spent.push(`Budget: ${budgetText(outcome.budget)}.`);
  at("change").querySelector(".spent").textContent = spent.join(" ");
  at("notes").textContent = outcome.notes.map((note) => `${note[0].toUpperCase()}${note.slice(1)}.`).join(" ");
  at("command").replaceChildren(...words(outcome.command));
  at("command").parentElement.hidden = outcome.command === "";
  at("copy").textContent = "Copy";
  at("remark").textContent = outcome.command_note;
  at("outcome").hidden = false;
  say(outcome.summary);
}

// Each word is a box of its own: a line never breaks within an option.
function words(command) {
  return command.split(" ").flatMap((word, place) => {
    const box = document.createElement("span");
    box.textContent = word;
    return place ? [" ", box] : [box];
  });
}

async function copy() {
  try {
    await navigator.clipboard.writeText(at("command").textContent);
    at("copy").textContent = "Copied";
  } catch { // not allowed, or not loopback: the reader copies
    getSelection().selectAllChildren(at("command"));
    at("copy").textContent = "Selected";
  }
}

async function tryOut(event) {
  event.preventDefault();
  at("go").disabled = true;
  say(`Trying it out… (an attack is ended after ${offer.seconds} s)`);
  try {
    show(await ask("api/trial", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(trialOf()),
    }));
  } catch (error) {
    at("outcome").hidden = true;
    say(error.message, true);
  } finally {
    at("go").disabled = false;
  }
}

function describe() {
  const server = offer.server;
  const told = { true: "serves this artifact", false: "serves another artifact" };
  const words = [`${offer.model}, artifact ${offer.digest}`, `${offer.images} test images`,
    offer.detectors ? "with detectors" : "without detectors"];
  if (server) words.push(`server ${server.url} ${told[server.same] || "(what it serves is unknown)"}`);
  return words.join(" · ");
}

async function start() {
  try {
    offer = await ask("api/about");
    at("about").textContent = describe();
    at("index").max = offer.images - 1;
    fill(at("attack"), [...offer.attacks.map((one) => [one.name, one.title]), ["none", "none"]]);
    at("attack").value = "pgd";
    fill(at("defence"), offer.defences.map((name, place) => [name, place ? name : `${name} (as served)`]));
    at("places").hidden = !offer.server;
    refresh();
    if (at("threat").value !== offer.trained && offer.trained) {
      at("threat").value = offer.trained;
      sized();
    }
    preview();
    at("go").disabled = false;
  } catch (error) {
    say(error.message, true);
  }
}

at("index").addEventListener("input", preview);
at("file").addEventListener("change", choose);
at("forget").addEventListener("click", forget);
at("attack").addEventListener("change", refresh);
at("place").addEventListener("change", refresh);
at("threat").addEventListener("change", sized);
at("copy").addEventListener("click", copy);
at("form").addEventListener("submit", tryOut);
start();
