/** The page's end of the worker: load a model once, then explain photographs. */
import { PageError } from "./errors.js";
import { fetchBytes, fetchDescription, modelAddress } from "./model.js";

const RUNTIME = "ort/ort-wasm-simd-threaded";

export class Engine {
  #worker = new Worker("worker.js", { type: "module" });
  #waiting = new Map();
  #lastId = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { id, answer, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(answer);
      else reject(new PageError(`The model can't be run in this browser: ${error}`));
    };
    this.#worker.onerror = () => {
      for (const { reject } of this.#waiting.values()) reject(new PageError("worker.js can't be run in this browser."));
      this.#waiting.clear();
    };
  }

  /**
   * @param {(received: number, total: number) => void} progress in bytes
   * @returns the model's description (model.json), the bytes that were loaded, and the number of threads
   */
  async load(progress) {
    const address = modelAddress(location.href);
    const description = await fetchDescription(address.description);
    const parts = [address.weights, new URL(`${RUNTIME}.wasm.gz`, location.href)];
    const counts = parts.map(() => [0, 0]);
    const [model, wasm] = await Promise.all(
      parts.map((part, index) =>
        fetchBytes(part, (received, total) => {
          counts[index] = [received, total];
          progress(counts[0][0] + counts[1][0], counts.every((count) => count[1]) ? counts[0][1] + counts[1][1] : 0);
        }),
      ),
    );
    // threads share memory, which browsers allow only on pages that the server isolates from all others
    const threads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
    const glue = new URL(`${RUNTIME}.mjs`, location.href).href;
    const given = { model: model.bytes, wasm: wasm.bytes.buffer, glue, description, threads };
    await this.#ask("load", given, [model.bytes.buffer, wasm.bytes.buffer]);
    return { description, bytes: model.received + wasm.received, threads };
  }

  /** Logits, targets and raw heatmaps of a photograph; takes the bitmap over. */
  explain(bitmap) {
    return this.#ask("explain", { bitmap }, [bitmap]);
  }

  #ask(task, given, transfer) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, task, ...given }, transfer);
    });
  }
}
