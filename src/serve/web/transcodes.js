// What the drive makes of a film: asked for, waited for while it is being made, and put into the menus.

const UNREACHABLE = "The server cannot be reached.";
// Chosen: a drive that has not begun within a quarter of an hour will not.
const LONGEST = 15 * 60 * 1000;
// Seconds. So long the server says where nobody knows when it gets better: a frozen account, a login that has ended.
const NOT_SOON = 60;
// Seconds between looks while nobody waits for it. Chosen: a look keeps the drive busy for as long as the server holds it.
const UNWANTED = 60;

const sleep = (seconds) => new Promise((wake) => { setTimeout(wake, seconds * 1000); });

// Why the server refuses, in its own line of text; the request's number behind that says nothing to a viewer.
async function words(answer) {
  const isText = (answer.headers.get("Content-Type") || "").startsWith("text/plain");
  return isText ? (await answer.text()).trim().replace(/ \(request [^)]*\)$/, "") : `The server answered ${answer.status}.`;
}

// Why an address of the server gives nothing; nothing where it does give. The browser hides that.
export async function refusal(address) {
  try {
    const ours = new URL(address, location.href);
    // A drive that it leads to may not let pages read.
    if (ours.origin === location.origin) ours.search += `${ours.search ? "&" : "?"}via=proxy`;
    const answer = await fetch(ours, { headers: { Range: "bytes=0-0" } });
    if (!answer.ok) return await words(answer);
    await answer.body?.cancel();
    return null;
  } catch {
    return UNREACHABLE;
  }
}

export class Transcodes {
  #master;
  #tell;
  #isWanted = false;
  #want;
  #wanted = new Promise((resolve) => { this.#want = resolve; });
  #listed = null;

  // `tell(text, seconds)` is told how the waiting goes, once somebody waits.
  constructor(master, tell) {
    this.#master = master;
    this.#tell = tell;
  }

  // From now on somebody waits.
  want() {
    this.#isWanted = true;
    this.#want();
  }

  // What there is. Fails with the reason; asked again after that, it looks again unless the drive has said no.
  listed() {
    this.#listed ??= this.#read().catch((error) => {
      if (!error.isFinal) this.#listed = null;
      throw error;
    });
    return this.#listed;
  }

  async #read() {
    const answer = await this.#prepared();
    if (!answer.ok) {
      throw Object.assign(new Error(await words(answer)), { isFinal: answer.status < 500 });
    }
    return { ...read(await answer.text(), this.#master), withheld: withheld(answer.headers.get("Sluice-Withheld")) };
  }

  // The film's playlist. The drive says when to ask again, and not how far it is.
  async #prepared() {
    const since = Date.now();
    let doing = "Asking the drive for its transcodes";
    const clock = setInterval(() => {
      if (this.#isWanted) this.#tell(doing, Math.round((Date.now() - since) / 1000));
    }, 1000);
    try {
      for (;;) {
        const answer = await fetch(this.#master);
        const soon = Number(answer.headers.get("Retry-After")) || 5;
        // A drive that does not answer may do so again; a refusal is the last word.
        if (answer.status < 500 || soon >= NOT_SOON || Date.now() - since > LONGEST) return answer;
        const why = await words(answer);
        doing = why.includes("preparing") ? "The drive is preparing this film" : why;
        await (this.#isWanted ? sleep(soon) : Promise.race([sleep(UNWANTED), this.#wanted]));
      }
    } catch {
      throw new Error(UNREACHABLE);
    } finally {
      clearInterval(clock);
    }
  }
}

// The qualities and subtitles of a multivariant playlist.
function read(text, master) {
  const lines = text.split(/\r?\n/);
  const [variants, tracks] = [[], []];
  lines.forEach((line, number) => {
    if (line.startsWith("#EXT-X-STREAM-INF:")) {
      const name = lines[number + 1].split("/")[0].toUpperCase();
      const size = attributes(line).RESOLUTION;
      variants.push({ label: size ? `${name} (${size})` : name, address: new URL(lines[number + 1], master).href });
    } else if (line.startsWith("#EXT-X-MEDIA:TYPE=SUBTITLES")) {
      const media = attributes(line);
      const address = new URL(media.URI.replace("/index.m3u8", ".vtt"), master).href;
      tracks.push({ label: media.NAME, language: media.LANGUAGE, address });
    }
  });
  return { variants, tracks };
}

// `KEY=value,KEY="quoted, value"` as an object.
function attributes(line) {
  const found = {};
  for (const [, key, quoted, plain] of line.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^,]*))/g)) {
    found[key] = quoted ?? plain;
  }
  return found;
}

const REASONS = { package: "needs the drive's third-party package" };

// `hd,fhd; reason=package` as what a menu says of them.
function withheld(header) {
  const [names, reason] = (header || "").split(/;\s*reason=/);
  const why = REASONS[reason] || "kept back by the drive";
  return names.split(",").map((name) => name.trim()).filter(Boolean).map((name) => `${name.toUpperCase()} (${why})`);
}
