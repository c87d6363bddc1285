// Drawings in SVG, each with a text for those who don't see it.

const NAMESPACE = "http://www.w3.org/2000/svg";
const COLOURS = ["#3b7dd8", "#d8763b", "#3fa36b", "#9a5fc4", "#c4546b", "#8a8330", "#2f9aa8", "#7a6a5c"];

function shape(tag, attributes, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawing(className, width, height, label, ...children) {
  const attributes = { class: className, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label };
  return shape("svg", attributes, ...children);
}

/** Magnitudes in [0, 1] -> the outline of a waveform. */
export function wave(peaks) {
  const bars = peaks.map((peak, x) => `M${x + 0.5} ${30 - 29 * peak}V${30 + 29 * peak + 0.5}`);
  const svg = drawing("wave", peaks.length, 60, "waveform", shape("path", { d: bars.join(""), stroke: "currentColor" }));
  svg.setAttribute("preserveAspectRatio", "none");
  return svg;
}

/** Score, threshold, error curve -> both on an axis, with the shares of pairs below and above. */
export function scale(score, threshold, { thresholds, p_miss, p_fa }) {
  const [left, right, top, bottom] = [62, 590, 26, 150];
  const low = Math.min(thresholds[0], score);
  const high = Math.max(thresholds.at(-1), score);
  const x = (value) => left + ((right - left) * (value - low)) / (high - low);
  const y = (share) => bottom - (bottom - top) * share;
  const line = (shares) => shares.map((share, i) => `${i ? "L" : "M"}${x(thresholds[i]).toFixed(1)} ${y(share).toFixed(1)}`).join("");
  const marks = [
    shape("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}`, fill: "none" }),
    shape("path", { class: "strangers", d: line(p_fa) }),
    shape("path", { class: "same", d: line(p_miss) }),
    shape("text", { x: left - 8, y: top + 6, "text-anchor": "end" }, "100 %"),
    shape("text", { x: left - 8, y: bottom + 6, "text-anchor": "end" }, "0"),
  ];
  if (threshold !== null) {
    marks.push(shape("path", { class: "threshold", d: `M${x(threshold)} ${top}V${bottom}` }));
    marks.push(shape("text", { x: x(threshold), y: top - 6, "text-anchor": "middle" }, `threshold ${threshold.toFixed(2)}`));
  }
  marks.push(shape("circle", { class: "score", cx: x(score), cy: bottom, r: 7 }));
  marks.push(shape("text", { x: x(score), y: bottom + 24, "text-anchor": "middle", "font-weight": 700 }, score.toFixed(2)));
  const label = `score ${score.toFixed(3)} on a scale from ${low.toFixed(1)} to ${high.toFixed(1)}` + (threshold === null ? "" : `, threshold ${threshold.toFixed(3)}`);
  return drawing("scale", 620, 184, label, ...marks);
}

/** A conversation, names, its player, what plays from a time on -> a row for each name over the waveform. */
export function timeline(known, names, player, play) {
  const [width, left, row, over] = [window.innerWidth < 600 ? 440 : 1000, 130, 30, 60];
  const height = over + row * names.length + 10;
  const x = (seconds) => left + ((width - left) * seconds) / known.duration_s;
  const bars = known.peaks.map((peak, i) => {
    const place = left + ((width - left) * (i + 0.5)) / known.peaks.length;
    return `M${place.toFixed(1)} ${30 - 28 * peak}V${30 + 28 * peak + 0.5}`;
  });
  const marks = [shape("path", { d: bars.join(""), stroke: "currentColor", opacity: 0.6 })];
  names.forEach((name, number) => {
    const y = over + row * number;
    const shown = name.length > 16 ? `${name.slice(0, 15)}…` : name;
    marks.push(shape("text", { x: 0, y: y + 20, fill: "currentColor", "font-size": 16 }, shown));
    for (const turn of known.turns.filter((each) => each.name === name)) {
      const box = { class: "turn", x: x(turn.start), y: y + 3, width: Math.max(1, x(turn.end) - x(turn.start)), height: row - 6, rx: 3, fill: COLOURS[number % COLOURS.length] };
      const mark = shape("rect", box, shape("title", {}, `${name}: ${turn.start.toFixed(1)} to ${turn.end.toFixed(1)} s`));
      mark.addEventListener("click", () => play(turn.start));
      marks.push(mark);
    }
  });
  const head = shape("path", { class: "head", d: "" });
  player.addEventListener("timeupdate", () => head.setAttribute("d", `M${x(player.currentTime)} 0V${height}`));
  const label = `timeline of ${names.length} speakers; the list below says the same`;
  const root = document.createElement("div");
  root.className = "timeline";
  root.append(drawing("", width, height, label, ...marks, head));
  return root;
}
