/**
 * From a photograph to the model's input, as `vitcam.models.preprocessing.Preprocessing` does it in Python.
 *
 * @typedef {object} Preprocessing what model.json declares
 * @property {[number, number]} size height and width of the input
 * @property {[number, number] | null} resize height and width before the crop; null: `size`
 * @property {"squash" | "shortest" | "longest"} resize_mode
 * @property {keyof import("./resample.js").FILTERS} interpolation
 * @property {[number, number, number]} mean
 * @property {[number, number, number]} std
 * @property {[number, number, number]} fill
 * @property {"pil" | "uint8" | "float32"} arithmetic of the resize in Python; here it is Pillow's in any case, which
 *   differs from the others by less than a level
 *
 * @typedef {{width: number, height: number}} Size
 */
import { round } from "./numbers.js";
import { resize } from "./resample.js";

/** @returns {Size} of the photograph once it is resized */
export function resizedSize(preprocessing, { width, height }) {
  const [targetHeight, targetWidth] = preprocessing.resize ?? preprocessing.size;
  const mode = preprocessing.resize_mode;
  if (mode === "squash") return { width: targetWidth, height: targetHeight };
  if (mode === "shortest" && targetHeight === targetWidth) {
    const short = Math.min(width, height);
    return {
      width: Math.trunc((targetWidth * width) / short),
      height: Math.trunc((targetHeight * height) / short),
    };
  }
  const ratio = (mode === "shortest" ? Math.min : Math.max)(height / targetHeight, width / targetWidth);
  return { width: Math.max(1, round(width / ratio)), height: Math.max(1, round(height / ratio)) };
}

/** Where the centre crop begins in the resized photograph; negative where it is padded. */
function corner(preprocessing, resized) {
  const [height, width] = preprocessing.size;
  const roundedOff = preprocessing.arithmetic === "pil" ? round : Math.floor;
  const offset = (length, crop) =>
    crop > length ? -Math.floor((crop - length) / 2) : roundedOff((length - crop) / 2);
  return { top: offset(resized.height, height), left: offset(resized.width, width) };
}

/**
 * The part of a photograph that the model sees, in the photograph's pixels.
 * @returns {{left: number, top: number, width: number, height: number}}
 */
export function region(preprocessing, size) {
  const resized = resizedSize(preprocessing, size);
  const { top, left } = corner(preprocessing, resized);
  const scaleX = size.width / resized.width;
  const scaleY = size.height / resized.height;
  return {
    left: left * scaleX,
    top: top * scaleY,
    width: preprocessing.size[1] * scaleX,
    height: preprocessing.size[0] * scaleY,
  };
}

/**
 * @param {Preprocessing} preprocessing
 * @param {(top: number, rows: number) => Uint8ClampedArray | Uint8Array} readRows gives RGBA bytes
 * @param {Size} size of the photograph
 * @returns {Float32Array} 3 × height × width, normalised
 */
export function modelInput(preprocessing, readRows, size) {
  const resized = resizedSize(preprocessing, size);
  const pixels = resize(readRows, size, resized, preprocessing.interpolation);
  const { top, left } = corner(preprocessing, resized);
  const [height, width] = preprocessing.size;
  const input = new Float32Array(3 * height * width);
  for (let channel = 0; channel < 3; channel++) {
    const levels = normalizedLevels(preprocessing.mean[channel], preprocessing.std[channel]);
    let at = channel * height * width;
    for (let row = top; row < top + height; row++) {
      for (let column = left; column < left + width; column++) {
        const inside = row >= 0 && row < resized.height && column >= 0 && column < resized.width;
        const level = inside ? pixels[(row * resized.width + column) * 3 + channel] : preprocessing.fill[channel];
        input[at++] = levels[level];
      }
    }
  }
  return input;
}

/** What each of the 256 levels becomes, in float32 arithmetic as in Python. */
function normalizedLevels(mean, std) {
  const { fround } = Math;
  return Float32Array.from({ length: 256 }, (_, level) =>
    fround(fround(fround(level / 255) - fround(mean)) / fround(std)),
  );
}
