/** Python's `round` and numpy's `rint`: halves go to the even neighbour. */
export function round(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** Softmax in float64, safe for large logits. @returns {number[]} */
export function softmax(logits) {
  const highest = Math.max(...logits);
  const exponentials = Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** Each class on its own, where a photograph can have several. @returns {number[]} */
export function sigmoid(logits) {
  return Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
}
