/** A heatmap over its photograph, to the byte what `vitcam.render.overlay` draws. */
import { INFERNO } from "./inferno.js";
import { round } from "./numbers.js";

export const DEFAULT_OPACITY = 0.75;
const COLD_SATURATION = Math.fround(0.2);
const DARKEST = 20;
const LIGHTEST = 189;

const DIMMED = Uint8Array.from({ length: 256 }, (_, level) =>
  round(DARKEST + ((LIGHTEST - DARKEST) * level) / 255),
);

/** `a` and `b` mixed with a weight of 0..255 for `b`, rounded as Pillow rounds. */
function composite(a, b, weight) {
  const sum = a * (255 - weight) + b * weight + 128;
  return (sum + (sum >> 8)) >> 8;
}

/**
 * The photograph is dimmed and mostly grey where it is cold; colour and its opacity grow with heat.
 *
 * @param {Uint8ClampedArray | Uint8Array} photo RGBA bytes, opaque
 * @param {Float32Array} heat as many values in 0..1 as the photograph has pixels
 * @param {number} opacity of the colour at the hottest point, 0..1
 * @returns {Uint8ClampedArray} RGBA bytes
 */
export function overlay(photo, heat, opacity = DEFAULT_OPACITY) {
  const picture = new Uint8ClampedArray(photo.length);
  const { fround } = Math;
  for (let pixel = 0, at = 0; pixel < heat.length; pixel++, at += 4) {
    const hot = round(fround(Math.min(1, Math.max(0, heat[pixel])) * 255));
    const weight = round(opacity * hot);
    const grey = (photo[at] * 19595 + photo[at + 1] * 38470 + photo[at + 2] * 7471 + 0x8000) >> 16;
    for (let channel = 0; channel < 3; channel++) {
      const level = photo[at + channel];
      const pale = Math.trunc(fround(grey + fround(COLD_SATURATION * (level - grey))));
      const dimmed = DIMMED[composite(pale, level, hot)];
      picture[at + channel] = composite(dimmed, INFERNO[hot * 3 + channel], weight);
    }
    picture[at + 3] = 255;
  }
  return picture;
}
