/** The page: a photograph comes in, the engine explains it, the visitor looks at its classes. */
import { drawMap, drawPhotograph, drawScale, heatOver, photographSeen } from "./drawing.js";
import { Engine } from "./engine.js";
import { PageError } from "./errors.js";
import { fetchFound } from "./model.js";
import { sigmoid, softmax } from "./numbers.js";
import { openPhotograph } from "./photograph.js";
import { region } from "./preprocessing.js";
import * as view from "./view.js";

const { $ } = view;

/** What scripts may read: the last photograph's numbers, and how many bytes were loaded. */
const shared = (window.vitcam = { result: null, bytes: 0 });

/** @param {"loading" | "ready" | "explaining" | "explained" | "failed"} name */
function setState(name) {
  document.body.dataset.state = name;
}

let engine;
/** @type {Promise<{description: object, bytes: number, threads: number}>} */
let loaded;
let latest = 0;
let current = null;
let heat = null;

async function start() {
  requireBrowser();
  await keepForOffline();
  engine = new Engine();
  return engine.load((received, total) => {
    view.setProgress(received, total);
    const loading = `Loading the model: ${megabytes(received)}${total ? ` of ${megabytes(total)}` : ""} MB`;
    view.setStatus(received === total ? "Starting the model…" : loading);
  });
}

/** Where browsers allow it (https, this machine; not in private windows), the page also opens without a network. */
async function keepForOffline() {
  try {
    await navigator.serviceWorker.register("offline.js");
    if (navigator.serviceWorker.controller) return;
    await Promise.race([
      new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true })),
      new Promise((resolve) => setTimeout(resolve, 1000)),
    ]);
  } catch {
    // it does everything else without
  }
}

function requireBrowser() {
  if (location.protocol === "file:") {
    throw new PageError(
      "Opened as a file, this page can't load its model. Serve its folder, and open the address that it tells: python -m http.server",
    );
  }
  const needed = ["WebAssembly", "Worker", "OffscreenCanvas", "DecompressionStream"];
  const missing = needed.filter((name) => typeof window[name] === "undefined");
  if (missing.length) {
    throw new PageError(
      `This browser lacks ${missing.join(", ")}. It is too old (the page needs Chrome 80, Firefox 114, Safari 16.4 or ` +
        "later), or has switched it off in a protected mode.",
    );
  }
}

function welcome({ description, bytes, threads }) {
  const { spec, method, vitcam } = description;
  $("model").textContent = [
    [spec, method].filter(Boolean).join(", "),
    vitcam && `vitcam ${vitcam}`,
    `${megabytes(bytes)} MB loaded`,
    `ONNX Runtime in WebAssembly, ${threads === 1 ? "1 thread" : `${threads} threads`}`,
  ]
    .filter(Boolean)
    .join(" · ");
  shared.bytes = bytes;
  if (latest > 0) return;
  view.setStatus("Ready. Choose a photograph.");
  setState("ready");
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);

/**
 * Explain a photograph; if another one comes in meanwhile, that one wins.
 * @param {Blob | Promise<Blob>} file
 * @param {string} name
 */
async function take(file, name) {
  const turn = ++latest;
  const overtaken = () => turn !== latest;
  view.setError("");
  setState("explaining");
  try {
    const bitmap = await openPhotograph(await file, name);
    if (shared.bytes === 0 && !overtaken()) view.setStatus(`${name} is next: the model is still loading.`);
    const { description } = await loaded;
    if (overtaken()) return;
    view.setStatus(`Explaining ${name}…`);
    const { width, height } = bitmap;
    const photograph = photographSeen(bitmap, region(description.preprocessing, bitmap));
    const answer = await engine.explain(bitmap);
    if (overtaken()) return;
    view.captionPhotograph(name, width, height);
    show(name, photograph, answer, description);
  } catch (error) {
    if (!overtaken()) complain(error);
  }
}

function show(name, photograph, answer, description) {
  // A single logit has nothing to share a softmax with.
  const apart = description.multi_label || answer.logits.length === 1;
  const probabilities = (apart ? sigmoid : softmax)(answer.logits);
  const cells = answer.rows * answer.columns;
  const classes = answer.targets.map((index, place) => ({
    index,
    name: description.class_names?.[index] ?? `class ${index}`,
    probability: probabilities[index],
    map: {
      values: answer.heatmaps.subarray(place * cells, (place + 1) * cells),
      height: answer.rows,
      width: answer.columns,
    },
  }));
  classes.sort((one, other) => other.probability - one.probability);
  current = { name, photograph, classes, chosen: classes[0] };
  shared.result = { name, probabilities, milliseconds: answer.milliseconds, classes };
  $("answer").hidden = false;
  drawPhotograph($("photograph"), photograph);
  view.showClasses(classes, current.chosen.index);
  choose(current.chosen);
  const { prepare, model } = answer.milliseconds;
  $("time").textContent =
    `Explained in ${(prepare + model).toFixed(0)} ms: ` +
    `${prepare.toFixed(0)} to prepare the photograph, ${model.toFixed(0)} for the answer and ` +
    `${classes.length === 1 ? "its map" : `all ${classes.length} maps`}.`;
  view.setStatus(`${name}: ${view.labelled(current.chosen)}.`);
  setState("explained");
}

function choose(one) {
  current.chosen = one;
  heat = heatOver(one.map, current.photograph);
  view.captionMap(one);
  draw();
}

function draw() {
  const look = {
    shown: $("shown").checked,
    opacity: $("opacity").valueAsNumber / 100,
    threshold: $("outlined").checked ? $("threshold").valueAsNumber / 100 : null,
  };
  $("opacity-shown").textContent = `${$("opacity").value} %`;
  $("threshold-shown").textContent = ($("threshold").valueAsNumber / 100).toFixed(2);
  drawScale($("scale"), look);
  if (current) drawMap($("map"), current.photograph, heat, look);
}

/** @param {unknown} error a PageError's text is for the visitor; anything else is told as what it is */
function complain(error) {
  setState("failed");
  view.setStatus("");
  view.setError(error instanceof PageError ? error.message : `Something unexpected went wrong: ${error}`);
  if (!(error instanceof PageError)) console.error(error);
}

function takeFrom(transfer, otherwise) {
  const files = [...(transfer?.files ?? [])];
  const file = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (file) take(file, file.name || "The pasted picture");
  else if (otherwise) complain(new PageError(otherwise));
}

const example = async (name) => (await fetchFound(new URL(`photos/${name}`, location.href))).blob();

function listen() {
  $("file").addEventListener("change", () => {
    takeFrom($("file"));
    $("file").value = ""; // so that the same file can be chosen again
  });
  for (const button of document.querySelectorAll("[data-photo]")) {
    button.addEventListener("click", () => take(example(button.dataset.photo), button.dataset.photo));
  }
  document.addEventListener("paste", ({ clipboardData }) => takeFrom(clipboardData));
  const dropping = (on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    dropping(true);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget === null && dropping(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(false);
    takeFrom(event.dataTransfer, "That wasn't a file. Save the picture first, then drop its file here.");
  });
  $("classes").addEventListener("change", ({ target }) => {
    if (target.name === "class") choose(current.classes.find(({ index }) => index === Number(target.value)));
  });
  $("search").addEventListener("input", () => view.filterClasses($("search").value));
  for (const id of ["opacity", "outlined", "threshold", "shown"]) $(id).addEventListener("input", draw);
  $("threshold").addEventListener("input", () => {
    $("outlined").checked = true;
    draw();
  });
  $("save").addEventListener("click", save);
}

function save() {
  $("map").toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${current.name.replace(/\.\w+$/, "")}-${current.chosen.name.replaceAll(/[^\p{L}\p{N}]+/gu, "-")}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

listen();
draw();
setState("loading");
loaded = start();
loaded.then(welcome, complain).finally(() => view.setProgress(NaN, 0));
