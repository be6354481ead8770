/** The line around what is hotter than a threshold: marching squares. */

/** For each of the 16 cases of a square's corners (top left 1, top right 2, bottom right 4, bottom left 8) the pairs
 * of edges that the line connects: 0 top, 1 right, 2 bottom, 3 left. */
const LINES = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

/**
 * @param {{values: Float32Array, height: number, width: number}} map
 * @param {number} threshold
 * @returns {[number, number, number, number][]} segments (x, y, x, y), 0..1 from the map's edge to its edge
 */
export function outline(map, threshold) {
  const segments = [];
  // a border of cold values around the map closes the line where heat reaches the edge
  const valueAt = (row, column) =>
    row < 0 || column < 0 || row >= map.height || column >= map.width
      ? -1e-6
      : map.values[row * map.width + column] - threshold;
  const place = (index, length) => Math.min(1, Math.max(0, (index + 0.5) / length));
  for (let row = -1; row < map.height; row++) {
    for (let column = -1; column < map.width; column++) {
      const a = valueAt(row, column);
      const b = valueAt(row, column + 1);
      const c = valueAt(row + 1, column + 1);
      const d = valueAt(row + 1, column);
      const lines = LINES[(a > 0) + 2 * (b > 0) + 4 * (c > 0) + 8 * (d > 0)];
      for (const ends of lines) {
        segments.push(
          ends.flatMap((edge) => {
            const x = edge === 0 ? a / (a - b) : edge === 2 ? d / (d - c) : edge === 1 ? 1 : 0;
            const y = edge === 3 ? a / (a - d) : edge === 1 ? b / (b - c) : edge === 2 ? 1 : 0;
            return [place(column + x, map.width), place(row + y, map.height)];
          }),
        );
      }
    }
  }
  return segments;
}
