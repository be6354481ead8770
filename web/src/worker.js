/** Runs the model beside the page, so that the page never stands still. Messages: see `engine.js`. */
import * as ort from "onnxruntime-web/wasm";

import { rowReader } from "./photograph.js";
import { modelInput } from "./preprocessing.js";

let session;
let preprocessing;

async function load({ model, wasm, glue, description, threads }) {
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.wasmPaths = { mjs: glue };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  preprocessing = description.preprocessing;
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  return {};
}

async function explain({ bitmap }) {
  const started = performance.now();
  const input = modelInput(preprocessing, rowReader(bitmap), bitmap);
  bitmap.close();
  const prepared = performance.now();
  const images = new ort.Tensor("float32", input, [1, 3, ...preprocessing.size]);
  const { logits, targets, heatmaps } = await session.run({ images });
  const [, , rows, columns] = heatmaps.dims;
  return {
    logits: Array.from(logits.data),
    targets: Array.from(targets.data, Number),
    heatmaps: heatmaps.data,
    rows,
    columns,
    milliseconds: { prepare: prepared - started, model: performance.now() - prepared },
  };
}

const TASKS = { load, explain };

self.onmessage = async ({ data: { id, task, ...given } }) => {
  try {
    self.postMessage({ id, answer: await TASKS[task](given) });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
