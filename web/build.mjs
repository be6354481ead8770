/** Bundles the page into dist/: everything it loads, so that any file server can serve it. The model comes from `make web`. */
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const photos = "../src/vitcam/photos";
const runtime = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded";

await rm("dist", { recursive: true, force: true });
await mkdir("dist/ort", { recursive: true });
const common = { bundle: true, minify: true, target: "es2022", legalComments: "eof", logLevel: "warning" };
await build({ ...common, entryPoints: ["src/main.js"], format: "iife", outfile: "dist/main.js" });
await build({
  ...common,
  entryPoints: ["src/worker.js"],
  format: "esm",
  outfile: "dist/worker.js",
  conditions: ["onnxruntime-web-use-extern-wasm"],
});
await build({ ...common, entryPoints: ["src/offline.js"], format: "iife", outfile: "dist/offline.js" });
await cp(`${runtime}.mjs`, "dist/ort/ort-wasm-simd-threaded.mjs");
// packed here, and unpacked by the page: few file servers pack by themselves what they send
await writeFile("dist/ort/ort-wasm-simd-threaded.wasm.gz", gzipSync(await readFile(`${runtime}.wasm`), { level: 9 }));
for (const file of ["index.html", "style.css", "icon.svg", "notices.txt"]) await cp(file, `dist/${file}`);
await cp(photos, "dist/photos", { recursive: true, filter: (path) => !/__|\.py|\.md/.test(path) });
// as .txt, which every file server and browser shows as text
await cp(`${photos}/CREDITS.md`, "dist/photos/credits.txt");
await cp("../src/vitcam/models/embedded/CARD.md", "dist/model-card.txt");
