// The page: slots take recordings, panels show what the API answers. Text from outside only becomes text nodes.

import { record, toWav } from "/audio.js";
import { scale, timeline, wave } from "/drawings.js";

const byId = (id) => document.getElementById(id);

/** Tag, properties, children -> an element; unknown text can't become markup. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- requests ----

const token = new URLSearchParams(location.hash.slice(1)).get("token");
let model = {};

/** Method, path, body (a WAV Blob or values) -> the answer; throws an Error that says why there is none. */
async function ask(method, path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = body instanceof Blob ? "audio/wav" : "application/json";
  const content = body === undefined || body instanceof Blob ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers, body: content });
  } catch {
    throw new Error("The server doesn't answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Show in a panel that a question is asked, then what `question` returns, or why there is no answer. */
async function show(panel, question) {
  panel.replaceChildren(element("p", { className: "hint" }, "Listening …"));
  panel.setAttribute("aria-busy", "true");
  try {
    panel.replaceChildren(...(await question()));
  } catch (error) {
    panel.replaceChildren(element("p", { className: "error" }, error.message));
  } finally {
    panel.removeAttribute("aria-busy");
  }
}

// ---- slots ----

/** A place for a recording: from the microphone, a file that is chosen, or one that is dropped. */
class Slot {
  /** Element, what to do with a recording: WAV Blob -> what the API knows of it. */
  constructor(root, listen) {
    this.root = root;
    this.listen = listen;
    this.known = null;
    this.changed = () => {};
    const title = root.dataset.title;
    this.button = element("button", { type: "button" }, "Record");
    this.button.setAttribute("aria-label", `Record: ${title}`);
    this.button.addEventListener("click", () => this.toggle());
    const input = element("input", { type: "file", accept: "audio/*,video/*", className: "unseen" });
    input.setAttribute("aria-label", `Choose a file: ${title}`);
    input.addEventListener("change", () => input.files[0] && this.take(input.files[0]));
    const choice = element("label", { className: "file" }, "Choose a file", input);
    this.status = element("div");
    this.status.setAttribute("role", "status");
    const buttons = element("div", { className: "buttons" }, this.button, choice);
    const hint = element("p", { className: "hint" }, "Or drop a recording here.");
    root.append(element("h2", {}, title), buttons, hint, this.status);
    root.addEventListener("dragover", (event) => { event.preventDefault(); root.classList.add("over"); });
    root.addEventListener("dragleave", () => root.classList.remove("over"));
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      root.classList.remove("over");
      if (event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
    });
  }

  async toggle() {
    if (this.stop) {
      const stop = this.stop;
      this.stop = null;
      this.button.textContent = "Record";
      this.button.classList.remove("recording");
      await this.take(await stop());
      return;
    }
    try {
      this.stop = await record();
    } catch {
      this.status.replaceChildren(element("p", { className: "error" }, "The microphone can't be used; allow it, or choose a file."));
      return;
    }
    this.button.textContent = "Stop";
    this.button.classList.add("recording");
    this.status.replaceChildren(element("p", { className: "hint" }, "Recording: speak some sentences, then stop."));
  }

  /** A recording of any format: play it, send it, show what is known of it. */
  async take(blob) {
    this.known = null;
    this.changed();
    await show(this.status, async () => {
      let wav;
      try {
        wav = await toWav(blob);
      } catch {
        throw new Error("The browser can't decode this file; convert it to WAV.");
      }
      const known = await this.listen(wav);
      if (this.address) URL.revokeObjectURL(this.address);
      this.address = URL.createObjectURL(wav);
      this.player = element("audio", { controls: true, src: this.address });
      this.player.setAttribute("aria-label", this.root.dataset.title);
      this.known = known;
      const seconds = `${known.speech_s.toFixed(1)} s of speech in ${known.duration_s.toFixed(1)} s`;
      return [
        wave(known.peaks),
        this.player,
        element("p", {}, known.has_speech ? seconds : `No speech in ${known.duration_s.toFixed(1)} s.`),
        ...known.warnings.map((text) => element("p", { className: "warning" }, text)),
      ];
    });
    this.changed();
  }

  /** The recording's name in the API; null without a recording in which somebody speaks. */
  get recording() {
    return this.known && this.known.has_speech ? this.known.recording : null;
  }

  clear() {
    this.known = null;
    this.status.replaceChildren();
    this.changed();
  }
}

const embed = (wav) => ask("POST", "/api/recordings", wav);

// ---- answers ----

const percent = (share) => (share < 0.001 ? "under 0.1" : (100 * share).toFixed(share < 0.1 ? 1 : 0)) + " %";

/** Text, kind -> a verdict that doesn't need its colour. */
function verdict(text, kind) {
  const sign = { yes: "✓", no: "✕", maybe: "?" }[kind];
  return element("p", { className: `verdict ${kind}` }, `${sign} ${text}`);
}

/** Score, threshold -> sentences and a drawing that say where it lies. */
function position(score, threshold) {
  const parts = [element("p", {}, `Score ${score.toFixed(3)}; from ${threshold === null ? "?" : threshold.toFixed(3)} on, recordings are taken for one person.`)];
  if (model.curve) {
    const [missed, accepted] = rates(score);
    parts.push(element("p", {}, `Where the threshold was measured, ${percent(accepted)} of the pairs of two people scored at least this high, ${percent(missed)} of the pairs of one person lower.`));
    parts.push(scale(score, threshold, model.curve));
    parts.push(element("p", { className: "hint key strangers" }, "pairs of two people that score at least so high"));
    parts.push(element("p", { className: "hint key" }, "pairs of one person that score lower"));
  }
  return parts;
}

/** Score -> shares of pairs of one person below it, and of two people from it on. */
function rates(score) {
  const { thresholds, p_miss, p_fa } = model.curve;
  const after = thresholds.findIndex((value) => value >= score);
  if (after <= 0) return after === 0 ? [p_miss[0], p_fa[0]] : [1, 0];
  const part = (score - thresholds[after - 1]) / (thresholds[after] - thresholds[after - 1]);
  return [p_miss, p_fa].map((values) => values[after - 1] + part * (values[after] - values[after - 1]));
}

/** Names and scores -> a table, best first. */
function ranking(ranked, caption) {
  if (!ranked.length) return [];
  const rows = ranked.map(({ name, score }) => element("tr", {}, element("td", {}, name), element("td", { className: "number" }, score.toFixed(3))));
  const head = element("tr", {}, ...["Name", "Score"].map((text) => element("th", { scope: "col" }, text)));
  return [element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows))];
}

function compared(answer, ranked) {
  const kind = { "one speaker": "yes", "two speakers": "no", undecided: "maybe" }[answer.decision];
  const words = { "one speaker": "One person", "two speakers": "Two people", undecided: "Undecided" }[answer.decision];
  const parts = [verdict(words, kind)];
  if (answer.reason) parts.push(element("p", {}, answer.reason));
  if (answer.probability !== null) {
    parts.push(element("p", {}, `Probability of one person: ${(100 * answer.probability).toFixed(2)} %, if one and two people were equally likely before listening.`));
  }
  if (answer.score !== null) parts.push(...position(answer.score, answer.threshold));
  return [...parts, ...ranking(ranked, "The second recording against the enrolled people")];
}

function identified(answer) {
  const parts = [answer.name === null ? verdict("Nobody who is enrolled", "no") : verdict(answer.name, "yes")];
  if (answer.reason) parts.push(element("p", {}, `Because ${answer.reason}.`));
  return [...parts, ...ranking(answer.ranked, "Whom the recording resembles")];
}

/** Turns of a conversation, its player -> sums, a timeline and a list that play what is chosen. */
function conversed(known, player) {
  const names = [...new Set(known.turns.map((turn) => turn.name))];
  const sums = names.map((name) => {
    const seconds = known.turns.filter((turn) => turn.name === name).reduce((sum, turn) => sum + turn.end - turn.start, 0);
    return `${name} ${seconds.toFixed(0)} s`;
  });
  const play = (start) => { player.currentTime = start; player.play(); };
  const items = known.turns.map((turn) => {
    const button = element("button", { type: "button" }, `${clock(turn.start)} to ${clock(turn.end)}`);
    button.addEventListener("click", () => play(turn.start));
    return element("li", {}, button, ` ${turn.name}`);
  });
  const count = `${names.length} ${names.length === 1 ? "speaker" : "speakers"}`;
  return [verdict(count, "yes"), element("p", {}, sums.join(", ")), timeline(known, names, player, play), element("ol", { className: "turns" }, ...items)];
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

// ---- panels ----

function panels() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (tab) => {
    for (const each of tabs) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", chosen);
      each.tabIndex = chosen ? 0 : -1;
      byId(each.getAttribute("aria-controls")).hidden = !chosen;
    }
  };
  tabs.forEach((tab, number) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(number + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });
}

function comparing() {
  const slots = ["first", "second"].map((id) => new Slot(byId(id), embed));
  const changed = () => {
    const [first, second] = slots.map((slot) => slot.recording);
    if (!first || !second) {
      byId("compare-answer").replaceChildren();
      return;
    }
    show(byId("compare-answer"), async () => {
      const answer = await ask("POST", "/api/compare", { first, second });
      const enrolled = await ask("POST", "/api/identify", { recording: second, top: 3 }).catch(() => ({ ranked: [] }));
      return compared(answer, enrolled.ranked);
    });
  };
  slots.forEach((slot) => { slot.changed = changed; });
}

function identifying() {
  const slot = new Slot(byId("unknown"), embed);
  slot.changed = () => {
    if (!slot.recording) return byId("identify-answer").replaceChildren();
    return show(byId("identify-answer"), async () => identified(await ask("POST", "/api/identify", { recording: slot.recording })));
  };
}

function conversing() {
  const slot = new Slot(byId("conversation"), (wav) => ask("POST", "/api/turns", wav));
  slot.changed = () => {
    const answer = slot.known && slot.known.turns.length ? conversed(slot.known, slot.player) : [];
    byId("turns-answer").replaceChildren(...answer);
  };
}

function enrolling() {
  const slot = new Slot(byId("sample"), embed);
  const name = byId("name");
  byId("enrolment").addEventListener("submit", (event) => {
    event.preventDefault();
    show(byId("people-answer"), async () => {
      if (!slot.recording) throw new Error("Record this person first, or choose a file.");
      const { remarks } = await ask("POST", "/api/speakers", { name: name.value, recordings: [slot.recording] });
      const enrolled = name.value;
      name.value = "";
      slot.clear();
      await listSpeakers();
      return [verdict(`${enrolled} is enrolled`, "yes"), ...remarks.map((text) => element("p", { className: "warning" }, text))];
    });
  });
}

async function listSpeakers() {
  const { speakers } = await ask("GET", "/api/speakers");
  const rows = speakers.map((speaker) => {
    const button = element("button", { type: "button" }, "Remove");
    button.setAttribute("aria-label", `Remove ${speaker.name}`);
    button.addEventListener("click", () => show(byId("people-answer"), async () => {
      await ask("DELETE", "/api/speakers", { name: speaker.name });
      await listSpeakers();
      return [element("p", {}, `${speaker.name} is removed.`)];
    }));
    const cells = [speaker.name, speaker.num_recordings, `${speaker.speech_s.toFixed(1)} s`, button];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
  });
  const nobody = element("tr", {}, element("td", { colSpan: 4, className: "hint" }, "Nobody yet."));
  byId("speakers").replaceChildren(...(rows.length ? rows : [nobody]));
}

panels();
comparing();
identifying();
conversing();
enrolling();
show(byId("model"), async () => {
  model = await ask("GET", "/api/model");
  await listSpeakers();
  const threshold = model.threshold === null ? "no threshold" : `threshold ${model.threshold} (${model.origin})`;
  return [`Model ${model.model}, ${threshold}.`];
});
