// A film's page: which quality plays, with which subtitles, and why something does not.
import { Source } from "./source.js";
import { continueWhereLeft, listenToKeys, offerNext } from "./watching.js";

const player = document.getElementById("player");
const quality = document.getElementById("quality");
const subtitles = document.getElementById("subtitles");
const message = document.getElementById("message");

const say = (text) => { message.textContent = text; };
const sleep = (seconds) => new Promise((wake) => { setTimeout(wake, seconds * 1000); });
const answered = async (answer) => {
  const isText = (answer.headers.get("Content-Type") || "").startsWith("text/plain");
  // One line, with the request's number behind it, which says nothing to a viewer.
  return isText ? (await answer.text()).trim().replace(/ \(request [^)]*\)$/, "") : `The server answered ${answer.status}.`;
};

// The browser hides the reason of a failure; the server says it in one line of text.
async function explain(address) {
  try {
    const answer = await fetch(address, { headers: { Range: "bytes=0-0" } });
    if (answer.ok) {
      await answer.body?.cancel();
      say("This browser cannot play the file. Try another quality.");
    } else {
      say(await answered(answer));
    }
  } catch {
    say("The server cannot be reached.");
  }
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

// Adds the qualities and subtitles that the film's playlist lists, and the qualities that it may not have.
function offer(text, withheld, master) {
  const lines = text.split(/\r?\n/);
  lines.forEach((line, number) => {
    if (line.startsWith("#EXT-X-STREAM-INF:")) {
      const name = lines[number + 1].split("/")[0].toUpperCase();
      const size = attributes(line).RESOLUTION;
      const option = new Option(size ? `${name} (${size})` : name, new URL(lines[number + 1], master).href);
      option.dataset.hls = "";
      quality.add(option);
    } else if (line.startsWith("#EXT-X-MEDIA:TYPE=SUBTITLES")) {
      const media = attributes(line);
      const track = document.createElement("track");
      track.kind = "subtitles";
      track.label = media.NAME;
      track.srclang = media.LANGUAGE;
      track.src = new URL(media.URI.replace("/index.m3u8", ".vtt"), master).href;
      player.append(track);
      subtitles.add(new Option(media.NAME, String(subtitles.options.length - 1)));
    }
  });
  const [names, reason] = (withheld || "").split("; reason=");
  for (const name of names.split(",").filter(Boolean)) {
    const option = new Option(`${name.toUpperCase()} (${REASONS[reason] || "kept back by the drive"})`, "");
    option.disabled = true;
    quality.add(option);
  }
  subtitles.disabled = subtitles.options.length < 2;
}

// The film's playlist, waited for while the drive prepares it: it says when to ask again, and not how far it is.
async function prepared(master) {
  const since = Date.now();
  for (;;) {
    const asked = fetch(master);
    const isWanted = () => "hls" in (quality.selectedOptions[0]?.dataset ?? {});
    const clock = setInterval(() => {
      if (isWanted()) say(`The drive is preparing this film … ${Math.round((Date.now() - since) / 1000)} s`);
    }, 1000);
    try {
      const answer = await asked;
      // A drive that does not answer may do so again; only a refusal is the last word.
      if (answer.status < 500 || Date.now() - since > LONGEST_PREPARATION) return answer;
      await sleep(Number(answer.headers.get("Retry-After")) || 5);
    } finally {
      clearInterval(clock);
    }
  }
}

// Chosen: a drive that has not begun within a quarter of an hour will not.
const LONGEST_PREPARATION = 15 * 60 * 1000;

function start() {
  const source = new Source(player, say);
  const transcode = quality.querySelector("[data-hls]");
  const play = (option) => source.play(option.value, "hls" in option.dataset);
  let listed = null;

  if (transcode) {
    const master = new URL(transcode.value, location.href);
    // Subtitles are for the original too, so this does not wait for somebody to choose a transcode.
    listed = prepared(master).then(async (answer) => {
      if (!answer.ok) {
        transcode.disabled = true;
        transcode.textContent += " (not available)";
        throw new Error(await answered(answer));
      }
      offer(await answer.text(), answer.headers.get("Sluice-Withheld"), master);
    });
    listed.catch(() => {});
  }

  quality.disabled = quality.options.length < 2;
  let hasOriginalFailed = false;
  const choose = async (option) => {
    say("");
    try {
      if ("hls" in option.dataset) await listed;
      if (quality.selectedOptions[0] === option) {
        say("");
        await play(option);
      }
    } catch (error) {
      // Somebody may have chosen another meanwhile.
      if (quality.selectedOptions[0] !== option) return;
      quality.selectedIndex = 0;
      // What has failed already would only fail again.
      if (!hasOriginalFailed) await play(quality.options[0]);
      say(error.message);
    }
  };
  quality.addEventListener("change", () => choose(quality.selectedOptions[0]));

  // What the browser cannot play as it is may play as a transcode.
  const failed = async () => {
    if (source.isFed || hasOriginalFailed && quality.selectedIndex === 0) return;
    if (quality.selectedIndex !== 0 || !transcode || player.error?.code !== MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED) {
      if (!await source.fallBack()) await explain(player.currentSrc || player.src);
      return;
    }
    hasOriginalFailed = true;
    quality.value = transcode.value;
    await choose(transcode);
    if (quality.selectedIndex !== 0) {
      say("This browser cannot play the original, so it gets the transcode.");
    } else {
      const why = message.textContent;
      await explain(player.currentSrc || player.src);
      if (why) say(`${message.textContent} ${why}`);
    }
  };
  let isFailing = false;
  const fail = async () => {
    if (isFailing) return;
    isFailing = true;
    await failed();
    isFailing = false;
  };
  player.addEventListener("error", fail);
  if (player.error) fail();

  const show = () => {
    [...player.textTracks].forEach((track, number) => {
      track.mode = String(number) === subtitles.value ? "showing" : "disabled";
    });
  };
  subtitles.addEventListener("change", show);
  // The browser's own menu has them too.
  player.textTracks.addEventListener("change", () => {
    const shown = [...player.textTracks].findIndex((track) => track.mode === "showing");
    subtitles.value = shown < 0 ? "" : String(shown);
  });

  const next = offerNext(player, document.getElementById("next"), document.getElementById("coming"));
  listenToKeys(player, {
    subtitles: () => {
      subtitles.selectedIndex = (subtitles.selectedIndex + 1) % subtitles.options.length;
      show();
    },
    next,
  });
}

if (quality) {
  start();
} else if (player) {
  player.addEventListener("error", () => explain(player.currentSrc || player.src));
  if (player.error) explain(player.currentSrc || player.src);
  listenToKeys(player, {});
}
if (player) continueWhereLeft(player, document.getElementById("restart"));
