/**
 * Antialiased resizing, bit for bit as Pillow's `Image.resize` does it, so that the model sees here what it sees
 * in Python: two passes, columns first, with 22-bit fixed-point weights and bytes in between.
 */

const PRECISION_BITS = 22;

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Per interpolation its filter and the filter's radius, in pixels of the smaller picture. */
export const FILTERS = {
  box: { radius: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { radius: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    radius: 1,
    weight: (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0),
  },
  bicubic: { radius: 2, weight: (x) => cubic(Math.abs(x), -0.5) },
  lanczos: { radius: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

function cubic(x, a) {
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/**
 * Which pixels of a line of `length` make up each pixel of a line of `target`, and with what weights.
 * @returns {{first: number, weights: Int32Array}[]} per target pixel
 */
export function contributions(length, target, interpolation) {
  const { radius, weight } = FILTERS[interpolation];
  const scale = length / target;
  const stretch = Math.max(scale, 1);
  const support = radius * stretch;
  return Array.from({ length: target }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(length, Math.trunc(center + support + 0.5));
    const exact = Float64Array.from({ length: end - first }, (_, i) => weight((i + first - center + 0.5) / stretch));
    const sum = exact.reduce((total, value) => total + value, 0);
    return { first, weights: Int32Array.from(exact, (value) => fixedPoint(sum === 0 ? value : value / sum)) };
  });
}

function fixedPoint(value) {
  return Math.trunc(value * 2 ** PRECISION_BITS + (value < 0 ? -0.5 : 0.5));
}

function toByte(sum) {
  const value = sum >> PRECISION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * Resize a picture that is read in strips, so that a large photograph never lies in memory unpacked.
 *
 * @param {(top: number, rows: number) => Uint8ClampedArray | Uint8Array} readRows gives RGBA bytes; alpha is ignored
 * @param {{width: number, height: number}} size of the picture
 * @param {{width: number, height: number}} target
 * @param {keyof FILTERS} interpolation
 * @returns {Uint8Array} RGB, row by row
 */
export function resize(readRows, size, target, interpolation) {
  const narrow = narrowed(readRows, size, target.width, interpolation);
  const stride = target.width * 3;
  const resized = new Uint8Array(target.height * stride);
  contributions(size.height, target.height, interpolation).forEach(({ first, weights }, row) => {
    for (let column = 0; column < stride; column++) {
      let sum = 1 << (PRECISION_BITS - 1);
      let at = first * stride + column;
      for (let i = 0; i < weights.length; i++, at += stride) sum += narrow[at] * weights[i];
      resized[row * stride + column] = toByte(sum);
    }
  });
  return resized;
}

const STRIP_PIXELS = 1 << 20;

function narrowed(readRows, { width, height }, targetWidth, interpolation) {
  const columns = contributions(width, targetWidth, interpolation);
  const narrow = new Uint8Array(height * targetWidth * 3);
  const rowsAtOnce = Math.max(1, Math.floor(STRIP_PIXELS / width));
  let out = 0;
  for (let top = 0; top < height; top += rowsAtOnce) {
    const rows = Math.min(rowsAtOnce, height - top);
    const strip = readRows(top, rows);
    for (let row = 0; row < rows; row++) {
      for (const { first, weights } of columns) {
        let red = 1 << (PRECISION_BITS - 1);
        let green = red;
        let blue = red;
        let at = (row * width + first) * 4;
        for (let i = 0; i < weights.length; i++, at += 4) {
          red += strip[at] * weights[i];
          green += strip[at + 1] * weights[i];
          blue += strip[at + 2] * weights[i];
        }
        narrow[out++] = toByte(red);
        narrow[out++] = toByte(green);
        narrow[out++] = toByte(blue);
      }
    }
  }
  return narrow;
}
