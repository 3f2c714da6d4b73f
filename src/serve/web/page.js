// Lets the viewer choose between the original and the drive's transcoded qualities, and says why a film does not play.
"use strict";

const player = document.getElementById("player");
const quality = document.getElementById("quality");
const message = document.getElementById("message");
const HLS = "application/vnd.apple.mpegurl";

const say = (text) => { message.textContent = text; };

// The browser hides the reason of a failure; the server says it in one line of text.
async function explain(source) {
  try {
    const answer = await fetch(source, { headers: { Range: "bytes=0-0" } });
    const isText = (answer.headers.get("Content-Type") || "").startsWith("text/plain");
    if (answer.ok) {
      await answer.body?.cancel();
      say("This browser cannot play the file. Try another quality.");
    } else {
      say(isText ? (await answer.text()).trim() : `The server answered ${answer.status}.`);
    }
  } catch {
    say("The server cannot be reached.");
  }
}

// Keeps the place in the film and whether it was playing.
function play(source) {
  const at = player.currentTime;
  const wasPlaying = !player.paused;
  say("");
  player.addEventListener("loadedmetadata", () => {
    player.currentTime = at;
    if (wasPlaying) player.play().catch(() => {});
  }, { once: true });
  player.src = source;
  player.load();
}

// "KEY=value,KEY="quoted, value"" as an object.
function attributes(line) {
  const found = {};
  for (const [, key, quoted, plain] of line.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^,]*))/g)) {
    found[key] = quoted ?? plain;
  }
  return found;
}

// Adds the qualities and subtitles that the film's playlist lists.
function offer(text, master) {
  const lines = text.split(/\r?\n/);
  lines.forEach((line, number) => {
    if (line.startsWith("#EXT-X-STREAM-INF:")) {
      const name = lines[number + 1].split("/")[0].toUpperCase();
      const size = attributes(line).RESOLUTION;
      const option = new Option(size ? `${name} (${size})` : name, new URL(lines[number + 1], master).href);
      quality.add(option);
    } else if (line.startsWith("#EXT-X-MEDIA:TYPE=SUBTITLES")) {
      const media = attributes(line);
      const track = document.createElement("track");
      track.kind = "subtitles";
      track.label = media.NAME;
      track.srclang = media.LANGUAGE;
      track.src = new URL(media.URI.replace("/index.m3u8", ".vtt"), master).href;
      player.append(track);
    }
  });
}

async function choose() {
  const option = quality.selectedOptions[0];
  const source = option.value;
  if ("hls" in option.dataset && !("listed" in option.dataset)) {
    const answer = await fetch(source);
    if (!answer.ok) {
      say((await answer.text()).trim());
      quality.selectedIndex = 0;
      return;
    }
    option.dataset.listed = "";
    offer(await answer.text(), new URL(source, location.href));
  }
  play(source);
}

if (player) {
  player.addEventListener("error", () => explain(player.currentSrc || player.src));
  if (player.error) explain(player.currentSrc || player.src);
}

if (quality) {
  if (!player.canPlayType(HLS)) {
    for (const option of quality.querySelectorAll("[data-hls]")) {
      option.disabled = true;
      option.textContent += " (not in this browser)";
    }
  }
  quality.disabled = quality.options.length < 2;
  quality.addEventListener("change", () => choose().catch(() => say("The server cannot be reached.")));
}
