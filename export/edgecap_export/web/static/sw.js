// Keeps all files of one version (VERSION and FILES, path → hash, are written before this line by the export), so that
// the page works without a network. A new version is fetched beside the old one and used when no page of it is open.
const OURS = `edgecap ${registration.scope} `;
const CURRENT = OURS + VERSION;

addEventListener("install", (event) => event.waitUntil((async () => {
  const cache = await caches.open(CURRENT);
  await Promise.all(Object.entries(FILES).map(async ([path, integrity]) => {
    const answer = await fetch(path, { cache: "no-cache", integrity });
    if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
    await cache.put(path, answer);
  }));
})()));

addEventListener("activate", (event) => event.waitUntil((async () => {
  const old = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CURRENT);
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
})()));

addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  if (method !== "GET" || !url.startsWith(registration.scope)) return;
  event.respondWith((async () => {
    const cache = await caches.open(CURRENT);
    const kept = await cache.match(mode === "navigate" ? "index.html" : event.request, { ignoreSearch: true });
    return kept ?? fetch(event.request);
  })());
});
