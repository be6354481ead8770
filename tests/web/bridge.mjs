// Calls the page's functions from Python: {call, ...arguments} as JSON on stdin, the answer as JSON on stdout.
import { readFileSync } from "node:fs";

const at = (name) => import(new URL(`../../web/src/${name}.js`, import.meta.url));
const { normalize, upsample } = await at("heatmap");
const { INFERNO } = await at("inferno");
const { checked, modelAddress } = await at("model");
const { sigmoid, softmax } = await at("numbers");
const { outline } = await at("outline");
const { overlay } = await at("overlay");
const { modelInput, region } = await at("preprocessing");
const { resize } = await at("resample");

const reader = ({ rgba, width }) => (top, rows) => rgba.slice(top * width * 4, (top + rows) * width * 4);
const map = ({ values, height, width }) => ({ values: Float32Array.from(values), height, width });

const CALLS = {
  resize: ({ picture, target, interpolation }) => resize(reader(picture), picture, target, interpolation),
  input: ({ picture, preprocessing }) => modelInput(preprocessing, reader(picture), picture),
  region: ({ size, preprocessing }) => region(preprocessing, size),
  upsampled: ({ heatmap, height, width }) => upsample(map(heatmap), height, width).values,
  normalized: ({ heatmap }) => normalize(map(heatmap)).values,
  overlay: ({ rgba, heat, opacity }) => overlay(Uint8ClampedArray.from(rgba), Float32Array.from(heat), opacity),
  outline: ({ heatmap, threshold }) => outline(map(heatmap), threshold),
  colors: () => INFERNO,
  probabilities: ({ logits }) => ({ softmax: softmax(logits), sigmoid: sigmoid(logits) }),
  address: ({ page }) => modelAddress(page),
  checked: ({ description }) => checked(description, "model.json"),
};

const { call, ...given } = JSON.parse(readFileSync(0, "utf8"));
let answer;
try {
  answer = { value: CALLS[call](given) };
} catch (error) {
  if (error.name !== "PageError") throw error;
  answer = { error: error.message };
}
const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
process.stdout.write(JSON.stringify(answer, plain));
