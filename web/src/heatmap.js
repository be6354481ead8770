/** From the patch grid to pixels, as `vitcam.heatmap` does it. A map is {values: Float32Array, height, width}. */

/** Bilinear with pixel centres aligned (`align_corners=False`): outside the outermost centres the edge is repeated. */
export function upsample(map, height, width) {
  const rows = neighbours(map.height, height);
  const columns = neighbours(map.width, width);
  const values = new Float32Array(height * width);
  let at = 0;
  for (const row of rows) {
    const above = row.low * map.width;
    const below = row.high * map.width;
    for (const column of columns) {
      const top = mix(map.values[above + column.low], map.values[above + column.high], column.share);
      const bottom = mix(map.values[below + column.low], map.values[below + column.high], column.share);
      values[at++] = mix(top, bottom, row.share);
    }
  }
  return { values, height, width };
}

const mix = (from, to, share) => from * (1 - share) + to * share;

function neighbours(length, target) {
  return Array.from({ length: target }, (_, index) => {
    const place = Math.max(0, ((index + 0.5) * length) / target - 0.5);
    const low = Math.min(Math.floor(place), length - 1);
    return { low, high: Math.min(low + 1, length - 1), share: place - low };
  });
}

const ROUNDING = 8 * 2 ** -23;

/** Min-max to 0..1; a map that is constant up to rounding shows nothing and becomes zeros. */
export function normalize(map) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of map.values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const constant = !(high - low > ROUNDING * Math.max(Math.abs(low), Math.abs(high)));
  return { ...map, values: map.values.map((value) => (constant ? 0 : (value - low) / (high - low))) };
}
