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
      // A focused button would have the keys.
      restart.blur();
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

// The next film of the folder, in the order in which people count; looked for when the end comes near, or somebody asks: the drive
// may have to list the folder for it. It begins by itself only where it is the next episode.
export function offerNext(player, button, coming, say) {
  let found = null;
  const look = () => {
    found ??= following().then((next) => {
      if (next) button.title = next.name;
      else button.hidden = true;
      return next;
    }).catch((error) => {
      found = null;
      throw error;
    });
    return found;
  };
  const go = async () => {
    try {
      const next = await look();
      if (next) location.href = next.address;
      else say("This is the last film of its folder.");
    } catch {
      say("The folder cannot be read, so there is no next film.");
    }
  };
  button.hidden = false;
  button.addEventListener("click", go);
  player.addEventListener("timeupdate", () => {
    if (player.duration > 0 && left(player) < Math.max(120, player.duration / 10)) look().catch(() => {});
  });

  const [text, now, stay] = coming.children;
  let clock = null;
  const end = () => {
    clearInterval(clock);
    coming.hidden = true;
  };
  player.addEventListener("ended", async () => {
    const next = await look().catch(() => null);
    if (!next?.isEpisode || player.loop || !player.ended) return;
    end();
    // The seconds are for the eye: read out each time they would drown the name.
    const seconds = document.createElement("span");
    seconds.ariaHidden = "true";
    text.replaceChildren(next.name, seconds);
    let rest = COUNT;
    const tell = () => { seconds.textContent = ` in ${rest} s`; };
    tell();
    coming.hidden = false;
    clock = setInterval(() => {
      rest -= 1;
      tell();
      if (rest > 0) return;
      end();
      go();
    }, 1000);
  });
  now.addEventListener("click", go);
  stay.addEventListener("click", end);
  // Who goes back, or plays it once more, stays.
  for (const event of ["seeking", "playing", "emptied"]) player.addEventListener(event, end);
  if (location.hash === "#play") player.play().catch(() => {});
  return go;
}

// Seconds in which to say no. Chosen.
const COUNT = 10;

// Reads it from the folder's page; null where this film is the last.
async function following() {
  const folder = new URL("./", location.href);
  const answer = await fetch(folder, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`answered ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const films = [...page.querySelectorAll("tr.video a")].sort((a, b) => names.compare(a.textContent, b.textContent));
  const own = decodeURIComponent(location.pathname.split("/").pop());
  const at = films.findIndex((film) => film.textContent === own);
  if (at < 0 || at + 1 === films.length) return null;
  const next = films[at + 1];
  const address = new URL(next.getAttribute("href"), folder);
  address.search = location.search;
  address.hash = "play";
  return { name: next.textContent, address: address.href, isEpisode: isEpisode(own, next.textContent) };
}

const isDigit = (character) => /^\d$/.test(character);

// Whether two names part at a number: "Show 9" and "Show 10", "S01E01 Pilot" and "S01E02 Home".
function isEpisode(one, other) {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at += 1;
  while (at > 0 && isDigit(one[at - 1])) at -= 1;
  return at > 0 && isDigit(one[at]) && isDigit(other[at]);
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
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.isComposing) return;
    if (event.target.closest?.("select, input, textarea, button, a, summary")) return;
    const tenth = /^[0-9]$/.test(event.key) && player.duration > 0;
    const action = tenth
      ? () => { player.currentTime = player.duration * Number(event.key) / 10; }
      // A capital without shift is caps lock.
      : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    // A focused player would do the same once more.
    event.stopPropagation();
    // Held down, a key goes on seeking, and does not switch to and fro.
    if (!event.repeat || event.key.startsWith("Arrow") || action === actions.j || action === actions.l) action();
  }, { capture: true });
}
