/** The service worker: what the page has loaded is kept on the visitor's machine, and used where the server can't be
 * reached. As long as it can, everything comes from it, so that the page is never an old one. */

const KEPT = "vitcam";
/** Loaded before this worker is there. */
const EXAMPLES = ["cat_and_cup", "cat", "cup", "astronaut"].map((name) => `photos/${name}.jpg`);
const FIRST = ["./", "main.js", "style.css", "icon.svg", ...EXAMPLES];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(FIRST)));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) event.respondWith(answer(event));
});

async function answer(event) {
  const kept = await caches.open(KEPT);
  try {
    const response = await fetch(event.request);
    // a visitor whose disk is full does without
    if (response.ok) event.waitUntil(kept.put(event.request, response.clone()).catch(() => {}));
    return response;
  } catch (unreachable) {
    const found = await kept.match(event.request, { ignoreSearch: true });
    if (found) return found;
    throw unreachable;
  }
}
