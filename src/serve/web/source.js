// What the player is given: a file, or HLS through the browser's own player or hls.js.

const HLS = "application/vnd.apple.mpegurl";

export class Source {
  #player;
  #say;
  #hls = null;
  #now = null;
  // For browsers that have none of their own, and for those whose own has failed; `?hls=js` in the page's address asks for it.
  #byScript;

  constructor(player, say) {
    this.#player = player;
    this.#say = say;
    this.#byScript = !player.canPlayType(HLS) || new URLSearchParams(location.search).get("hls") === "js";
  }

  // Plays another address at the same place, playing or paused as it was.
  async play(address, isHls) {
    const player = this.#player;
    this.#now = { address, isHls };
    const Hls = isHls && this.#byScript ? await script() : null;
    if (this.#now.address !== address) return;
    // Only now: somebody may have pressed play while the script was on its way.
    const at = player.currentTime;
    const wasPlaying = !player.paused;
    this.#hls?.destroy();
    this.#hls = null;
    player.addEventListener("loadedmetadata", () => {
      if (at > 0) player.currentTime = at;
      if (wasPlaying) player.play().catch(() => {});
    }, { once: true });
    if (Hls) {
      this.#attach(Hls, address, at);
    } else {
      player.src = address;
      player.load();
    }
  }

  // Whether what plays is fed by script, which sees to its errors itself.
  get isFed() {
    return this.#hls !== null;
  }

  // After the browser's own HLS has failed: the same by script. Whether there was that way left.
  async fallBack() {
    if (!this.#now?.isHls || this.#byScript) return false;
    this.#byScript = true;
    try {
      await this.play(this.#now.address, true);
      return true;
    } catch {
      return false;
    }
  }

  #attach(Hls, address, at) {
    const hls = new Hls({
      // The page's policy allows no script but the server's own, and a worker would be one.
      enableWorker: false,
      startPosition: at > 0 ? at : -1,
      // The page shows subtitles itself, for files as well.
      subtitleTrackController: undefined,
      subtitleStreamController: undefined,
      timelineController: undefined,
      // The server holds a request for as long as it makes sense.
      fragLoadPolicy: { default: { ...Hls.DefaultConfig.fragLoadPolicy.default, maxTimeToFirstByteMs: 20000 } },
    });
    let recoveries = 0;
    hls.on(Hls.Events.ERROR, (_, { fatal, type, details, response }) => {
      if (!fatal) return;
      const isRefused = response?.code >= 400 && response.code < 500;
      if (type === Hls.ErrorTypes.NETWORK_ERROR && !isRefused) {
        this.#say("The film broke off; trying again.");
        // It has tried several times by itself.
        setTimeout(() => { if (this.#hls === hls) hls.startLoad(); }, 5000);
      } else if (type === Hls.ErrorTypes.MEDIA_ERROR && recoveries < 2) {
        recoveries += 1;
        hls.recoverMediaError();
      } else {
        this.#say(`This browser cannot play the film (${details}).`);
      }
    });
    hls.on(Hls.Events.FRAG_BUFFERED, () => this.#say(""));
    hls.loadSource(address);
    hls.attachMedia(this.#player);
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
    element.onerror = () => reject(new Error("This browser plays no HLS by itself, and this server has no hls.js to help it."));
    document.head.append(element);
  });
  return loading;
}
