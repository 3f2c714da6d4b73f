// A film's page: which quality plays, with which subtitles, and why something does not.
import { Source } from "./source.js";
import { Transcodes, refusal } from "./transcodes.js";
import { continueWhereLeft, listenToKeys, offerNext } from "./watching.js";

const player = document.getElementById("player");
const quality = document.getElementById("quality");
const subtitles = document.getElementById("subtitles");
const message = document.getElementById("message");

// With seconds, something is under way. They are for the eye: read out each second they would drown everything else.
function say(text, seconds) {
  message.classList.toggle("busy", seconds !== undefined);
  if (seconds === undefined) {
    message.textContent = text;
    return;
  }
  if (message.firstChild?.textContent !== text) {
    const clock = document.createElement("span");
    clock.ariaHidden = "true";
    message.replaceChildren(text, clock);
  }
  message.lastChild.textContent = ` … ${seconds} s`;
}

const UNPLAYABLE = "This browser cannot play the file.";
const explain = async (address) => say(await refusal(address) ?? UNPLAYABLE);
const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`).replace(/^./, (first) => first.toUpperCase());
const isHls = (option) => "hls" in option.dataset;

function start() {
  const original = quality.options[0];
  const automatic = quality.querySelector("[data-hls]");
  const source = new Source(player, original.value, { say, explain });
  const chosen = () => quality.selectedOptions[0];
  const transcodes = automatic && new Transcodes(new URL(automatic.value, location.href), (text, seconds) => {
    if (isHls(chosen())) say(text, seconds);
  });
  let noTranscodes = "";

  // Subtitles are for the original too, so this does not wait for somebody to choose a transcode.
  const list = () => transcodes.listed().then((found) => {
    if (!automatic.dataset.listed) offer(found);
    automatic.dataset.listed = "yes";
  }, (error) => {
    if (error.isFinal && !automatic.disabled) {
      automatic.disabled = true;
      automatic.textContent += " (not available)";
      noTranscodes = `There is no transcode: ${error.message}`;
      if (!message.textContent) say(noTranscodes);
    }
    throw error;
  });
  if (transcodes) list().catch(() => {});
  quality.disabled = !transcodes;

  // Plays what was chosen; whether it does, and nothing else was chosen meanwhile.
  const choose = async (option) => {
    say("");
    try {
      if (isHls(option)) {
        transcodes.want();
        await list();
      }
      if (chosen() !== option) return false;
      say("");
      await source.play(option.value, isHls(option));
      return chosen() === option;
    } catch (error) {
      if (chosen() !== option) return false;
      quality.selectedIndex = original.index;
      if (source.isHls) await source.play(original.value, false);
      say(noTranscodes || error.message);
      return false;
    }
  };
  quality.addEventListener("change", () => choose(chosen()));

  // The transcode in place of an original that does not play.
  const replace = async (why) => {
    if (!automatic || automatic.disabled) {
      say([sentence(why), noTranscodes].join(" ").trim());
      return;
    }
    quality.selectedIndex = automatic.index;
    if (await choose(automatic)) say(`${sentence(why)} Playing the transcode.`);
    else if (chosen() === original) {
      const whyNot = message.textContent;
      say(whyNot === why ? sentence(why) : `${sentence(why)} ${sentence(whyNot)}`);
    }
  };

  let breaks = 0;
  player.addEventListener("playing", () => { breaks = 0; });
  const failed = async () => {
    const code = player.error?.code;
    if (source.isHls) {
      if (!await source.fallBack()) await explain(source.address);
    } else if (code === MediaError.MEDIA_ERR_NETWORK && breaks < 5) {
      say("The film broke off; trying again.");
      breaks += 1;
      setTimeout(() => {
        if (!source.isHls && player.error) source.play(original.value, false).then(() => say(""));
      }, 1000 * 2 ** breaks);
    } else if (!isHls(chosen())) {
      await replace(await refusal(original.value) ?? "This browser cannot play the original");
    }
  };
  let isFailing = false;
  const fail = async () => {
    if (isFailing) return;
    isFailing = true;
    try {
      await failed();
    } finally {
      isFailing = false;
    }
  };
  player.addEventListener("error", fail);
  if (player.error) fail();
  // Sound alone plays without an error.
  let isBlind = false;
  const look = () => {
    if (isBlind || source.isHls || chosen() !== original || player.videoWidth > 0) return;
    isBlind = true;
    replace("This browser shows no picture of the original");
  };
  player.addEventListener("loadeddata", look);
  if (player.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) look();

  const show = () => {
    [...player.textTracks].forEach((track, number) => {
      track.mode = String(number) === subtitles.value ? "showing" : "disabled";
    });
  };
  subtitles.addEventListener("change", show);
  // The browser's own menu has them too.
  player.textTracks.addEventListener("change", () => {
    const shown = [...player.textTracks].findIndex((track) => track.mode === "showing");
    subtitles.selectedIndex = shown + 1 < subtitles.options.length ? shown + 1 : 0;
  });

  const next = offerNext(player, document.getElementById("next"), document.getElementById("coming"), say);
  listenToKeys(player, {
    subtitles: () => {
      subtitles.selectedIndex = (subtitles.selectedIndex + 1) % subtitles.options.length;
      show();
    },
    next,
  });
}

// Adds to the menus what the drive has made of the film, and the qualities that it keeps back.
function offer({ variants, tracks, withheld }) {
  for (const { label, address } of variants) {
    const option = new Option(label, address);
    option.dataset.hls = "";
    quality.add(option);
  }
  for (const label of withheld) {
    const option = new Option(label, "");
    option.disabled = true;
    quality.add(option);
  }
  for (const { label, language, address } of tracks) {
    const track = document.createElement("track");
    Object.assign(track, { kind: "subtitles", label, srclang: language, src: address });
    player.append(track);
    subtitles.add(new Option(label, String(subtitles.options.length - 1)));
  }
  subtitles.disabled = subtitles.options.length < 2;
}

if (quality) {
  start();
} else if (player) {
  const fail = () => explain(player.currentSrc || player.src);
  player.addEventListener("error", fail);
  if (player.error) fail();
  listenToKeys(player, {});
}
if (player) continueWhereLeft(player, document.getElementById("restart"));
