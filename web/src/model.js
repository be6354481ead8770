/** Which model the page uses, and fetching it with progress. */
import { PageError } from "./errors.js";
import { FILTERS } from "./resample.js";

const ONNX = /\.onnx(\.gz)?$/;
const DEFAULT_MODEL = "model/model.onnx.gz";

/**
 * The model that `?model=` names, or the page's own. Only the page's own origin is asked.
 * @param {string} page the page's address
 * @returns {{weights: URL, description: URL}} the .onnx or .onnx.gz file and the .json beside it
 */
export function modelAddress(page) {
  const asked = new URL(page).searchParams.get("model") ?? DEFAULT_MODEL;
  const weights = parsed(asked, page);
  if (weights === null || weights.origin !== new URL(page).origin) {
    throw new PageError(`The model "${asked}" isn't on this page's server. ?model= takes a path on the same server.`);
  }
  if (!ONNX.test(weights.pathname)) {
    throw new PageError(`The model "${asked}" isn't an .onnx file. vitcam export writes one, with a .json beside it.`);
  }
  const description = new URL(weights);
  description.pathname = weights.pathname.replace(ONNX, ".json");
  return { weights, description };
}

function parsed(address, base) {
  try {
    return new URL(address, base);
  } catch {
    return null;
  }
}

/**
 * A file, unpacked if it is gzipped.
 * @param {URL} address
 * @param {(received: number, total: number) => void} progress in bytes; the total is 0 where the server doesn't say
 * @returns {Promise<{bytes: Uint8Array, received: number}>}
 */
export async function fetchBytes(address, progress = () => {}) {
  const response = await fetchFound(address, EXPORTED);
  const total = Number(response.headers.get("Content-Length")) || 0;
  const chunks = [];
  let received = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      received += value.length;
      progress(received, total);
    }
  } catch {
    throw new PageError(`The connection broke while ${address.pathname} was loading. Reload the page to try again.`);
  }
  try {
    return { bytes: new Uint8Array(await unpacked(new Blob(chunks))), received };
  } catch {
    throw new PageError(`${address.pathname} is damaged: it can't be unpacked. Reload the page to try again.`);
  }
}

/** By its first bytes, not by its name: a server may have said that it is packed, and the browser have unpacked it. */
async function unpacked(file) {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return file.arrayBuffer();
  return new Response(file.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

const EXPORTED = "`make web` exports the model and puts it there.";

/**
 * @param {URL} address
 * @param {string} hint what to do if it isn't there
 * @returns {Promise<Response>}
 */
export async function fetchFound(address, hint = "Build the page again: make web.") {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new PageError(`${address.pathname} can't be loaded: the server doesn't answer. Reload the page to try again.`);
  }
  if (response.ok) return response;
  throw new PageError(`The server has no ${address.pathname} (it answered ${response.status}). ${hint}`);
}

/** model.json: what the exported model takes and gives. */
export async function fetchDescription(address) {
  const response = await fetchFound(address, EXPORTED);
  let description;
  try {
    description = await response.json();
  } catch {
    throw new PageError(`${address.pathname} isn't JSON. Export the model again: vitcam export writes it beside the model.`);
  }
  return checked(description, address.pathname);
}

/** @throws {PageError} the page can't prepare photographs for this model */
export function checked(description, name) {
  const { preprocessing, class_names: classNames, grid } = description ?? {};
  if (!preprocessing?.size || !preprocessing.mean || !preprocessing.std || !Array.isArray(grid)) {
    throw new PageError(`${name} doesn't say how photographs are prepared. Export the model again with this vitcam.`);
  }
  if (!(preprocessing.interpolation in FILTERS)) {
    throw new PageError(
      `The model wants photographs resized with "${preprocessing.interpolation}"; this page can ` +
        `${Object.keys(FILTERS).join(", ")}.`,
    );
  }
  return {
    ...description,
    class_names: classNames ?? null,
    preprocessing: { resize: null, resize_mode: "squash", fill: [0, 0, 0], arithmetic: "pil", ...preprocessing },
  };
}
