// What the player is given: a file, or HLS through the browser's own player or hls.js.

const HLS = "application/vnd.apple.mpegurl";
// Seconds before hls.js is told to go on after it has given up. It tries for half a minute by itself each time.
const WAITS = [1, 2, 4, 8];
// Seconds of film in which a second fault is the same as the first.
const SAME_PLACE = 10;

export class Source {
  // What plays, or is about to: an address of the server's.
  address;
  isHls = false;
  #player;
  #say;
  #explain;
  #hls = null;
  // Where to go on once the new source knows how long it is.
  #place = null;
  // Whether the viewer wants it to play. A new source is paused by itself, and so is one that failed.
  #plays;
  // For browsers that have none of their own, and for those whose own has failed; `?hls=js` in the page's address asks for it.
  #byScript;

  constructor(player, address, { say, explain }) {
    this.#player = player;
    this.#say = say;
    this.#explain = explain;
    this.address = address;
    this.#byScript = !player.canPlayType(HLS) || new URLSearchParams(location.search).get("hls") === "js";
    this.#plays = !player.paused;
    player.addEventListener("play", () => { this.#plays = true; });
    player.addEventListener("pause", () => {
      if (!player.error) this.#plays = false;
    });
    player.addEventListener("loadedmetadata", () => {
      if (this.#place === null) return;
      if (this.#place > 0) player.currentTime = this.#place;
      this.#place = null;
      if (this.#plays) player.play().catch(() => {});
    });
  }

  // Plays another address at the same place, playing or paused as it was.
  async play(address, isHls) {
    const player = this.#player;
    const Hls = isHls && this.#byScript ? await this.#script(address) : null;
    if (Hls === undefined) return;
    [this.address, this.isHls] = [address, isHls];
    // A source that has not come to its place yet does not lose it.
    this.#place ??= player.currentTime;
    this.#hls?.destroy();
    this.#hls = null;
    if (Hls) {
      this.#attach(Hls, address, this.#place);
    } else {
      player.src = address;
      player.load();
    }
  }

  // After the browser's own HLS has failed: the same by script. Whether that is under way.
  async fallBack() {
    if (this.#hls) return true;
    if (this.#byScript) return false;
    this.#byScript = true;
    try {
      await this.play(this.address, true);
      return true;
    } catch {
      return false;
    }
  }

  // hls.js; undefined where something else was asked for while it was on its way.
  #asked = null;
  async #script(address) {
    this.#asked = address;
    const Hls = await script();
    return this.#asked === address ? Hls : undefined;
  }

  #attach(Hls, address, at) {
    const player = this.#player;
    const hls = new Hls({
      // The page's policy allows no script but the server's own, and a worker would be one.
      enableWorker: false,
      startPosition: at > 0 ? at : -1,
      // Seconds kept of what was seen; as a whole, a film does not fit.
      backBufferLength: 90,
      // The page shows subtitles itself, for files as well.
      subtitleTrackController: undefined,
      subtitleStreamController: undefined,
      timelineController: undefined,
      // The server holds a request for as long as it makes sense.
      fragLoadPolicy: { default: { ...Hls.DefaultConfig.fragLoadPolicy.default, maxTimeToFirstByteMs: 20000 } },
    });
    let breaks = 0;
    let recovered = -Infinity;
    hls.on(Hls.Events.ERROR, (_, { fatal, type, details, url, response }) => {
      if (!fatal) return;
      const isRefused = response?.code >= 400 && response.code < 500;
      if (type === Hls.ErrorTypes.NETWORK_ERROR && !isRefused && breaks < WAITS.length) {
        this.#say("The film broke off; trying again.");
        setTimeout(() => {
          if (this.#hls !== hls) return;
          if (hls.levels.length) hls.startLoad();
          else hls.loadSource(address);
        }, 1000 * WAITS[breaks]);
        breaks += 1;
      } else if (type === Hls.ErrorTypes.NETWORK_ERROR) {
        this.#explain(url || address);
      } else if (type === Hls.ErrorTypes.MEDIA_ERROR && Math.abs(player.currentTime - recovered) > SAME_PLACE) {
        recovered = player.currentTime;
        hls.recoverMediaError();
      } else {
        this.#say(`This browser cannot play the film (${details}).`);
      }
    });
    hls.on(Hls.Events.FRAG_BUFFERED, () => {
      // What else the page says stays.
      if (breaks > 0) this.#say("");
      breaks = 0;
    });
    hls.loadSource(address);
    hls.attachMedia(player);
    this.#hls = hls;
  }
}

// hls.js, once it is needed. It is in the server only if it was there when that was built.
let loading = null;
function script() {
  loading ??= new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = new URL("hls.js", import.meta.url);
    element.onload = () => window.Hls?.isSupported() ? resolve(window.Hls) : reject(new Error("This browser cannot play HLS."));
    element.onerror = () => {
      loading = null;
      reject(new Error("This browser plays no HLS by itself, and this server has no hls.js to help it."));
    };
    document.head.append(element);
  });
  return loading;
}
