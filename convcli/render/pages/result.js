/* The convolution of what the controls say: its picture, its facts, and the command line that makes the same. */
"use strict";

let waiting = false;

/** Compute again, once a frame at most. */
function update() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; compute(); });
}

function showProblem(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = !message;
  document.body.classList.toggle("stale", Boolean(message)); // what is shown is no longer what is asked for
}

function compute() {
  if (!photo || !kernels.length) return;
  byId("pixels").hidden = byId("padding").value !== "pixels";
  byId("constant").hidden = byId("border").value !== "constant";
  byId("border").disabled = byId("constant").disabled = byId("transposed").checked; // it knows zeros only
  byId("output-padding-label").hidden = !byId("transposed").checked;
  try {
    settings = readSettings();
    found = convolve(photo, settings);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showProblem(error.message);
    return;
  }
  showProblem("");
  const { rows, columns, samples } = found;
  drawPlanes(byId("output"), samples, rows.output, columns.output);
  showFacts();
  showCommand();
  showSample(sample.row, sample.column);
}

function showFacts() {
  const { rows, columns, low, high, clipped, n, tone, mean } = found;
  const sides = [rows.before, rows.after, columns.before, columns.after];
  const padding = new Set(sides).size === 1 ? `${sides[0]}` : sides.join(",");
  const share = (100 * clipped) / n;
  const told = byId("output-facts");
  told.replaceChildren(
    make("b", `${columns.output} \u00d7 ${rows.output}`),
    ` values ${short(low, 4)} to ${short(high, 4)}, mean ${short(mean, 4)}; tone ${tone}, `,
    make("b", `clipped ${clipped ? (share < 0.01 ? "under 0.01" : share.toFixed(2)) : 0}\u00a0%`),
    share > 1 && tone !== "stretch" ? "; tone stretch keeps all of them" : "");
  byId("input-facts").textContent = `${photo.width} \u00d7 ${photo.height}, `
    + `${settings.transposed ? "cut from the result" : "padding"} ${padding}${settings.transposed ? "" : " " + byId("border").value}`;
  byId("kernel-facts").textContent = kernelFacts();
}

const chosenBank = () => data.banks[Number(byId("bank").value)];

/** Whether a kernel of the bank has the taps it came with. */
const isOriginal = (at) => JSON.stringify(kernels[at].taps) === JSON.stringify(chosenBank().kernels[at].taps);

/** Whether the kernels as they stand are the bank that its SPEC names. */
const isWholeBank = () => settings.combine !== "none" && kernels.every((_kernel, at) => isOriginal(at));

/** The `-k` words of the kernels that take part: names where nothing was edited, else the taps. */
function kernelWords() {
  const word = (at) => {
    const matrix = kernels[at].taps.map((row) => row.map(String).join(" ")).join("; ");
    const text = (settings.combine === "none" && isOriginal(at) && chosenBank().kernels[at].spec) || matrix;
    return text.startsWith("-") ? "--kernel=" + quote(text) : "-k " + quote(text);
  };
  if (isWholeBank()) return "-k " + quote(chosenBank().spec);
  return settings.combine === "none" ? word(settings.shown) : kernels.map((_kernel, at) => word(at)).join(" ");
}

/** The bias that the kernels bring along by their names (null: several different ones); taps bring none. */
function ownBias() {
  const isNamed = (at) => isOriginal(at) && chosenBank().kernels[at].spec;
  const named = settings.combine === "none" ? isNamed(settings.shown) : isWholeBank();
  return named ? chosenBank().bias : 0;
}

/** The flags of the convolution that are not the defaults of `apply`. */
function flagWords() {
  const s = settings, pair = ([rows, columns]) => (rows === columns ? `${rows}` : `${rows}x${columns}`);
  const words = [];
  if (pair(s.stride) !== "1") words.push(`--stride ${pair(s.stride)}`);
  if (typeof s.padding !== "string") {
    const [[top, bottom], [left, right]] = s.padding;
    words.push(`--padding ${top === bottom && left === right ? pair([top, left]) : [top, bottom, left, right].join(",")}`);
  } else if (s.padding !== "same") words.push(`--padding ${s.padding}`);
  if (!s.transposed && byId("border").value !== "replicate") {
    words.push(`--padding-mode ${byId("border").value}${s.border.mode === "constant" && byId("border").value === "constant" ? `:${s.border.value}` : ""}`);
  }
  if (pair(s.dilation) !== "1") words.push(`--dilation ${pair(s.dilation)}`);
  if (s.groups === "1") words.push("--groups 1");
  if (s.transposed) words.push("--transposed");
  if (s.transposed && pair(s.outputPadding) !== "0") words.push(`--output-padding ${pair(s.outputPadding)}`);
  if (s.mode === "convolve") words.push("--mode convolve");
  if (s.bias !== ownBias()) words.push(s.bias < 0 ? `--bias=${s.bias}` : `--bias ${s.bias}`);
  if (s.channels !== "all") words.push(`--channels ${s.channels}`);
  return words;
}

function showCommand() {
  const flags = flagWords(), extra = [];
  if (settings.combine !== "none" && !(isWholeBank() && chosenBank().combine === settings.combine)) extra.push(`--combine ${settings.combine}`);
  if (settings.tone !== "auto") extra.push(`--tone ${settings.tone}`);
  if (photo.alpha && settings.channels === "all") extra.push("--alpha drop");
  if (photo.frames > 1) extra.push("--frames first");
  const file = quoteFile(photo.name), kernel = kernelWords();
  byId("command").textContent = ["convcli apply", file, kernel, ...flags, ...extra, "-o out.png"].join(" ");
  const scaled = photo.full && (photo.full[0] !== photo.height || photo.full[1] !== photo.width);
  byId("explain-line").hidden = Boolean(scaled || stream || photo.builtin || photo.frames > 1);
  byId("command-note").textContent = photo.builtin || stream ? `${photo.name} stands for a picture of yours.`
    : scaled ? "This page shows the picture smaller; the command works on the whole file, so a kernel covers less of it." : "";
}

function showExplainCommand() {
  const flags = flagWords(), K = found.used.length;
  const map = sample.group * K + (settings.combine === "none" ? 0 : settings.shown);
  byId("explain").textContent = ["convcli explain", quoteFile(photo.name), kernelWords(), ...flags,
    ...(map ? [`--map ${map}`] : []), `--at ${sample.row},${sample.column}`].join(" ");
}
