/** Draws on the page's canvases. */
import { normalize, upsample } from "./heatmap.js";
import { outline } from "./outline.js";
import { overlay } from "./overlay.js";
import { drawOnWhite } from "./photograph.js";

/** The long edge of the pictures on the page: enough for a sharp screen, little enough to redraw while sliding. */
const LONG_EDGE = 960;

const HALO = "rgb(10 10 14)";
const LINE = "white";

/**
 * The part of a photograph that the model sees, as large as the pictures on the page.
 * @returns {ImageData}
 */
export function photographSeen(bitmap, part) {
  const scale = LONG_EDGE / Math.max(part.width, part.height);
  const [width, height] = [part.width, part.height].map((length) => Math.max(1, Math.round(length * scale)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  drawOnWhite(context, bitmap, part);
  return context.getImageData(0, 0, width, height);
}

/** @param {HTMLCanvasElement} canvas @param {ImageData} photograph */
export function drawPhotograph(canvas, photograph) {
  canvas.width = photograph.width;
  canvas.height = photograph.height;
  canvas.getContext("2d").putImageData(photograph, 0, 0);
}

/** A map over the whole picture, 0..1: stretched first, then scaled, as in Python. */
export function heatOver(map, { width, height }) {
  return normalize(upsample(map, height, width));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ImageData} photograph
 * @param {{values: Float32Array, width: number, height: number}} heat of the photograph's size
 * @param {{shown: boolean, opacity: number, threshold: number | null}} look
 */
export function drawMap(canvas, photograph, heat, { shown, opacity, threshold }) {
  const picture = shown ? new ImageData(overlay(photograph.data, heat.values, opacity), heat.width) : photograph;
  drawPhotograph(canvas, picture);
  if (shown && threshold !== null) drawOutline(canvas.getContext("2d"), heat, threshold);
}

function drawOutline(context, heat, threshold) {
  const { width, height } = context.canvas;
  const line = Math.max(2, Math.min(width, height) / 240);
  context.beginPath();
  for (const [fromX, fromY, toX, toY] of outline(heat, threshold)) {
    context.moveTo(fromX * width, fromY * height);
    context.lineTo(toX * width, toY * height);
  }
  context.lineCap = "round";
  for (const [color, thickness] of [[HALO, 2.5 * line], [LINE, line]]) {
    context.strokeStyle = color;
    context.lineWidth = thickness;
    context.stroke();
  }
}

/** Heat from cold to hot, as the map shows it on a mid-grey photograph, with a mark at the threshold. */
export function drawScale(canvas, { opacity, threshold }) {
  const { width, height } = canvas;
  const grey = new Uint8ClampedArray(width * height * 4).fill(128);
  const ramp = Float32Array.from({ length: width * height }, (_, i) => (i % width) / (width - 1));
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(overlay(grey, ramp, opacity), width), 0, 0);
  if (threshold === null) return;
  const x = threshold * (width - 1);
  for (const [color, thickness] of [[HALO, 5], [LINE, 2]]) {
    context.fillStyle = color;
    context.fillRect(x - thickness / 2, 0, thickness, height);
  }
}
