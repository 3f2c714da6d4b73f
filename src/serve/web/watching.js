// What makes watching comfortable: going on where one left, the next episode, and keys.

// Where each film was left, by its path: without the query, which may be a signature.
const key = (path) => `sluice at ${path}`;
const store = {
  get(path) {
    try {
      return Number(localStorage.getItem(key(path))) || 0;
    } catch {
      return 0;
    }
  },
  set(path, at) {
    try {
      if (at > 0) localStorage.setItem(key(path), String(at));
      else localStorage.removeItem(key(path));
    } catch { /* a browser that keeps nothing */ }
  },
};

// Seconds; who has seen less has not begun, and who has less left has seen it.
const BEGUN = 5;
const left = (player) => player.duration - player.currentTime;
const isSeen = (player) => left(player) < Math.min(60, player.duration / 20);

export function continueWhereLeft(player, restart) {
  const path = location.pathname;
  const at = store.get(path);
  const begin = () => {
    if (at <= BEGUN || at >= player.duration) return;
    player.currentTime = at;
    restart.hidden = false;
    restart.addEventListener("click", () => {
      player.currentTime = 0;
      restart.hidden = true;
    });
  };
  if (player.readyState >= HTMLMediaElement.HAVE_METADATA) begin();
  else player.addEventListener("loadedmetadata", begin, { once: true });

  let kept = at;
  const keep = () => {
    // Another source begins at 0 before it is taken back to its place.
    if (!(player.duration > 0) || player.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || player.seeking) return;
    kept = player.currentTime;
    store.set(path, isSeen(player) || kept <= BEGUN ? 0 : kept);
  };
  player.addEventListener("timeupdate", () => {
    if (Math.abs(player.currentTime - kept) >= 2) keep();
  });
  player.addEventListener("pause", keep);
  window.addEventListener("pagehide", keep);
}

// The next film of the folder, in the order in which people count; looked for when the end comes near, or somebody asks.
export function offerNext(player, link, coming) {
  const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  let found = null;
  const look = () => {
    found ??= (async () => {
      const folder = new URL("./", location.href);
      const answer = await fetch(folder, { headers: { Accept: "text/html" } });
      if (!answer.ok) return null;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const films = [...page.querySelectorAll("tr.video a")].sort((a, b) => names.compare(a.textContent, b.textContent));
      const own = decodeURIComponent(location.pathname.split("/").pop());
      const next = films[films.findIndex((film) => film.textContent === own) + 1];
      if (!next || !films.some((film) => film.textContent === own)) return null;
      const address = new URL(next.getAttribute("href"), folder);
      address.search = location.search;
      link.href = address.href;
      link.title = next.textContent;
      link.hidden = false;
      return { name: next.textContent, address: `${address.href}#play` };
    })().catch(() => null);
    return found;
  };
  const go = async () => {
    const next = await look();
    if (next) location.href = next.address;
  };
  player.addEventListener("timeupdate", () => {
    if (player.duration > 0 && left(player) < Math.max(120, player.duration / 10)) look();
  });
  player.addEventListener("ended", async () => {
    const next = await look();
    if (!next || player.loop) return;
    const [text, now, stay] = coming.children;
    let seconds = 10;
    const tell = () => { text.textContent = `${next.name} in ${seconds} s`; };
    tell();
    coming.hidden = false;
    const clock = setInterval(() => {
      seconds -= 1;
      tell();
      if (seconds <= 0) {
        end();
        go();
      }
    }, 1000);
    const end = () => {
      clearInterval(clock);
      coming.hidden = true;
    };
    now.addEventListener("click", go, { once: true });
    stay.addEventListener("click", end, { once: true });
    player.addEventListener("playing", end, { once: true });
  });
  if (location.hash === "#play") player.play().catch(() => {});
  return go;
}

export function listenToKeys(player, { subtitles, next }) {
  const by = (seconds) => { player.currentTime = Math.max(0, player.currentTime + seconds); };
  const louder = (step) => { player.volume = Math.min(1, Math.max(0, player.volume + step)); };
  const toggle = () => { if (player.paused) player.play().catch(() => {}); else player.pause(); };
  const actions = {
    " ": toggle,
    k: toggle,
    j: () => by(-10),
    l: () => by(10),
    ArrowLeft: () => by(-5),
    ArrowRight: () => by(5),
    ArrowUp: () => louder(0.1),
    ArrowDown: () => louder(-0.1),
    f: () => document.fullscreenElement ? document.exitFullscreen() : player.requestFullscreen?.(),
    m: () => { player.muted = !player.muted; },
    c: subtitles,
    n: next,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select, input, textarea, button, a, summary")) return;
    const tenth = /^[0-9]$/.test(event.key) && player.duration > 0;
    const action = tenth ? () => { player.currentTime = player.duration * Number(event.key) / 10; } : actions[event.key];
    if (!action) return;
    event.preventDefault();
    // A focused player would do the same once more.
    event.stopPropagation();
    action();
  }, { capture: true });
}
