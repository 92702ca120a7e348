/* The page: controls to settings, results to pictures and tables. Names come from files: they are only ever set as text. */
"use strict";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const MOST_EDITED = 15; // rows and columns of a kernel that is edited tap by tap
const MOST_WRITTEN = 9; // columns of a window whose numbers are written out
const PLANE_NAMES = { r: "red", g: "green", b: "blue", l: "grey", luma: "luma" };

let photo = null; // {name, width, height, planes, values}
let kernels = []; // [{name, taps}] as they are now
let found = null; // the last convolution
let settings = null; // and what it was asked for
let sample = { row: 0, column: 0, group: 0 }; // the output sample explained
let stream = null; // the camera, while it runs

/* ---------------------------------------------------------------- numbers and words */

/** A number for the eye: six digits, as `convcli explain` prints it. */
function short(value, digits = 6) {
  return String(Number((value + 0).toPrecision(digits))).replace("-", "\u2212");
}

/** Control characters as escapes, so that a file name cannot change how the page reads. */
function printable(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

/** A word as POSIX shells read it; control characters and broken UTF-8 in $'…' (bash, zsh, ksh). */
function quote(word) {
  if (/^[\w@%+=:,./#-]+$/.test(word) && !/^#/.test(word)) return word;
  if (!/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(word)) return "'" + word.replaceAll("'", "'\"'\"'") + "'";
  const escaped = [...word].map((c) => {
    const code = c.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + (code - 0xdc00).toString(16); // a byte that is no UTF-8
    if (c === "'" || c === "\\") return "\\" + c;
    if (!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(c)) return c;
    return [...new TextEncoder().encode(c)].map((byte) => "\\" + byte.toString(8).padStart(3, "0")).join("");
  });
  return "$'" + escaped.join("") + "'";
}

/** A file name as an argument: one that begins with a dash is no flag. */
const quoteFile = (name) => quote(name.startsWith("-") && name !== "-" ? "./" + name : name);

/** Create an element with text and attributes. */
function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Whole numbers of `N` or `HxW` as [rows, columns]. */
function readPair(id, name, least) {
  const text = byId(id).value.trim();
  const match = /^(\d{1,3})(?:[x×](\d{1,3}))?$/i.exec(text);
  if (!match || Math.min(match[1], match[2] ?? match[1]) < least) {
    throw markInvalid(id, `${name}: "${text}" is not N or HxW, at least ${least}`);
  }
  return [Number(match[1]), Number(match[2] ?? match[1])];
}

/** Padding as a word or [[top, bottom], [left, right]]. */
function readPadding() {
  if (byId("padding").value !== "pixels") return byId("padding").value;
  const text = byId("pixels").value.trim();
  if (text.includes(",")) {
    const sides = text.split(",").map((side) => (/^\s*\d{1,3}\s*$/.test(side) ? Number(side) : NaN));
    if (sides.length !== 4 || sides.some(Number.isNaN)) throw markInvalid("pixels", `padding: "${text}" is not top,bottom,left,right`);
    return [sides.slice(0, 2), sides.slice(2)];
  }
  return readPair("pixels", "padding", 0).map((side) => [side, side]);
}

/** A number, or a fraction such as 1/9. */
function readNumber(text) {
  const match = /^\s*([-+\u2212]?[\d.]+(?:e[-+]?\d+)?)(?:\s*\/\s*([\d.]+))?\s*$/i.exec(text);
  const value = match ? Number(match[1].replace("\u2212", "-")) / Number(match[2] ?? 1) : NaN;
  return Number.isFinite(value) ? value : NaN;
}

function readField(id, name) {
  const value = readNumber(byId(id).value);
  if (Number.isNaN(value)) throw markInvalid(id, `${name}: "${byId(id).value}" is not a number`);
  return value;
}

function markInvalid(id, message) {
  byId(id).setAttribute("aria-invalid", "true");
  return new Problem(message);
}

/** The controls as settings of `convolve`. */
function readSettings() {
  for (const field of document.querySelectorAll('#settings [aria-invalid="true"]')) field.removeAttribute("aria-invalid");
  const transposed = byId("transposed").checked, [channels, groups] = byId("planes").value.split("|");
  const border = byId("border").value;
  return {
    kernels, shown: Number(byId("shown").value), combine: kernels.length > 1 ? byId("combine").value : "none",
    stride: readPair("stride", "stride", 1), dilation: readPair("dilation", "dilation", 1), padding: readPadding(),
    outputPadding: transposed ? readPair("output-padding", "output padding", 0) : [0, 0],
    border: { mode: border === "zeros" ? "constant" : border, value: border === "constant" ? readField("constant", "border") : 0 },
    mode: byId("mode").value, transposed, channels, groups, bias: readField("bias", "bias"), tone: byId("tone").value,
  };
}

/* ---------------------------------------------------------------- pictures */

/** Bytes of base64 text that zlib compressed. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(inflated).arrayBuffer());
}

/** The photo in the page: each sample was stored as the difference from its left neighbour. */
async function embeddedPhoto() {
  const { name, width, height, planes, pixels } = data.photo;
  const bytes = await unpack(pixels), n = planes.length;
  const values = planes.map(() => new Float32Array(width * height));
  for (let y = 0, at = 0; y < height; y++) {
    const left = new Uint8Array(n);
    for (let x = 0; x < width; x++) for (let plane = 0; plane < n; plane++, at++) {
      left[plane] += bytes[at];
      values[plane][y * width + x] = left[plane];
    }
  }
  return { ...data.photo, name, width, height, planes, values };
}

/** Pixels of a canvas as a photo: three planes, or one where all are grey. */
function photoOf(canvas, name, full, alpha) {
  const { width, height } = canvas;
  const rgba = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height).data;
  const values = [0, 1, 2].map((plane) => Float32Array.from({ length: width * height }, (_value, at) => rgba[at * 4 + plane]));
  const grey = values[0].every((value, at) => value === values[1][at] && value === values[2][at]);
  return { name, width, height, planes: grey ? ["l"] : ["r", "g", "b"], values: grey ? [values[0]] : values, full, alpha, own: true };
}

/** Draw a picture or a camera's frame at most `data.longest` pixels wide and high. */
function shrink(picture, width, height) {
  const scale = Math.min(1, data.longest / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Open a picture that was dropped or chosen. */
async function openFile(file) {
  stopCamera();
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    showProblem(`${printable(file.name)} is no picture that this browser reads`);
    return;
  }
  setPhoto(photoOf(shrink(bitmap, bitmap.width, bitmap.height), file.name, [bitmap.height, bitmap.width], false));
}

function setPhoto(next) {
  const planesChanged = !photo || photo.planes.length !== next.planes.length;
  photo = next;
  byId("photo-name").textContent = photoFacts();
  if (planesChanged) fillPlanes();
  drawPlanes(byId("input"), photo.values, photo.height, photo.width);
  byId("input").setAttribute("aria-label", `The input, ${photo.height} rows by ${photo.width} columns`);
  update();
}

function photoFacts() {
  const { name, height, width, full } = photo;
  const size = `${width} \u00d7 ${height}`;
  const scaled = full && (full[0] !== height || full[1] !== width);
  return printable(name) + (scaled ? `, ${full[1]} \u00d7 ${full[0]}, here ${size}` : `, ${size}`);
}

function fillPlanes() {
  const colours = photo.planes.length === 3;
  const choices = colours
    ? [["all|auto", "each colour by itself"], ["luma|auto", "luma (grey)"], ["all|1", "all added up (groups 1)"],
      ["r|auto", "red only"], ["g|auto", "green only"], ["b|auto", "blue only"]]
    : [["all|auto", "grey"]];
  byId("planes").replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
}

/** Draw one or three planes of bytes. */
function drawPlanes(canvas, planes, height, width) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  const [red, green, blue] = planes.length === 3 ? planes : [planes[0], planes[0], planes[0]];
  for (let at = 0; at < width * height; at++) {
    image.data[at * 4] = red[at];
    image.data[at * 4 + 1] = green[at];
    image.data[at * 4 + 2] = blue[at];
    image.data[at * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/* ---------------------------------------------------------------- kernels */

function fillBanks() {
  const groups = new Map();
  data.banks.forEach((bank, at) => {
    if (!groups.has(bank.group)) groups.set(bank.group, make("optgroup", "", { label: bank.group }));
    const option = new Option(printable(bank.name), String(at));
    option.title = printable(bank.summary);
    groups.get(bank.group).append(option);
  });
  byId("bank").replaceChildren(...groups.values());
}

/** Load a bank of the menu; the taps may then be edited. */
function loadBank(at) {
  const bank = data.banks[at];
  kernels = bank.kernels.map(({ name, taps }) => ({ name, taps: taps.map((row) => [...row]) }));
  byId("bank").value = String(at);
  byId("shown").replaceChildren(...kernels.map(({ name }, index) => new Option(printable(name), String(index))));
  const words = { magnitude: "magnitude of all", max: "largest of all", min: "smallest of all", sum: "sum of all", mean: "mean of all" };
  byId("combine").replaceChildren(new Option("these taps", "none"), ...Object.entries(words).map(([value, text]) => new Option(text, value)));
  byId("combine").value = bank.combine in words ? bank.combine : "none";
  byId("bias").value = String(bank.bias ?? 0);
  byId("shown-label").hidden = byId("combine-label").hidden = kernels.length === 1;
  fillGrid();
}

const shownKernel = () => kernels[Number(byId("shown").value)];

function tapColour(value, most) {
  if (!value || !most) return "";
  const share = Math.round(15 + 60 * Math.min(Math.abs(value) / most, 1));
  return `color-mix(in srgb, var(${value > 0 ? "--plus" : "--minus"}) ${share}%, var(--cell))`;
}

const largest = (lines) => lines.flat().reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function fillGrid() {
  const { taps, name } = shownKernel(), grid = byId("grid");
  const height = taps.length, width = taps[0].length, most = largest(taps);
  byId("grid-rows").value = height;
  byId("grid-columns").value = width;
  grid.className = width > 5 ? "small" : "";
  if (height > MOST_EDITED || width > MOST_EDITED) {
    const canvas = make("canvas", "", { role: "img", "aria-label": `Taps of ${name}, too many to edit here` });
    const signed = (sign) => Float32Array.from(taps.flat(), (tap) => 255 * (1 - Math.max(sign * tap, 0) / (most || 1)));
    const [plus, minus] = [signed(1), signed(-1)];
    drawPlanes(canvas, [minus, plus.map((value, at) => Math.min(value, minus[at])), plus], height, width);
    grid.style.gridTemplateColumns = "auto";
    grid.replaceChildren(canvas);
  } else {
    grid.style.gridTemplateColumns = `repeat(${width}, auto)`;
    grid.replaceChildren(...taps.flatMap((line, row) => line.map((tap, column) => tapInput(tap, row, column, most))));
  }
}

function tapInput(tap, row, column, most) {
  const field = make("input", "", { "aria-label": `Tap, row ${row}, column ${column}`, inputmode: "text", "data-row": row, "data-column": column });
  field.value = short(tap, 4).replace("\u2212", "-");
  field.title = String(tap);
  field.style.background = tapColour(tap, most);
  return field;
}

/** Read one tap back from its field. */
function editTap(field) {
  const value = readNumber(field.value), { row, column } = field.dataset;
  if (Number.isNaN(value)) {
    field.setAttribute("aria-invalid", "true");
    return;
  }
  field.removeAttribute("aria-invalid");
  const { taps } = shownKernel();
  if (taps[row][column] === value) return;
  taps[row][column] = value;
  const most = largest(taps);
  for (const each of byId("grid").children) each.style.background = tapColour(taps[each.dataset.row][each.dataset.column], most);
  field.title = String(value);
  update();
}

/** Move the focus from tap to tap with the arrow keys; up and down with Alt change the tap by one. */
function gridKey(event) {
  const { row, column } = event.target.dataset, steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const step = steps[event.key];
  if (!step || row === undefined) return;
  if (event.altKey && step[0]) {
    event.target.value = String(readNumber(event.target.value) - step[0]);
    editTap(event.target);
    event.preventDefault();
    return;
  }
  const atEdge = event.key === "ArrowLeft" ? event.target.selectionStart === 0 : event.target.selectionEnd === event.target.value.length;
  if (step[1] && !atEdge) return; // the cursor still moves within the number
  const next = byId("grid").querySelector(`[data-row="${Number(row) + step[0]}"][data-column="${Number(column) + step[1]}"]`);
  if (next) {
    next.focus();
    event.preventDefault();
  }
}

/** Give every kernel another size: zeros around, or taps cut off; the middle stays the middle. */
function resizeKernels() {
  const whole = (id, old) => Math.min(Math.max(Math.round(Number(byId(id).value)) || old, 1), MOST_EDITED);
  const { taps } = shownKernel(), old = [taps.length, taps[0].length];
  const size = [whole("grid-rows", old[0]), whole("grid-columns", old[1])];
  const [down, across] = size.map((n, axis) => Math.floor((n - 1) / 2) - Math.floor((old[axis] - 1) / 2));
  for (const kernel of kernels) {
    const before = kernel.taps;
    kernel.taps = Array.from({ length: size[0] }, (_line, row) =>
      Array.from({ length: size[1] }, (_tap, column) => before[row - down]?.[column - across] ?? 0));
  }
  fillGrid();
  update();
}

function kernelFacts() {
  const flat = shownKernel().taps.flat(), sum = (values) => values.reduce((a, b) => a + b, 0);
  const plus = sum(flat.filter((tap) => tap > 0)), minus = sum(flat.filter((tap) => tap < 0));
  return `Taps add up to ${short(plus + minus)}: 0…255 becomes ${short(255 * minus + settings.bias)} to ${short(255 * plus + settings.bias)} at most.`;
}

/* ---------------------------------------------------------------- result */

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
    make("b", `clipped ${clipped ? (share < 0.01 ? "under 0.01" : share.toFixed(2)) : 0} %`));
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

/* ---------------------------------------------------------------- one sample */

const groupName = (group) => group.map(({ name }) => (group.length > 1 ? name : PLANE_NAMES[name] ?? name)).join("+");

function showSample(row, column) {
  const clamp = (at, n) => Math.min(Math.max(at, 0), n - 1);
  sample.row = clamp(row, found.rows.output);
  sample.column = clamp(column, found.columns.output);
  sample.group = clamp(sample.group, found.groups.length);
  const shown = settings.combine === "none" ? 0 : settings.shown;
  const told = explainSample(found, settings, shown, sample.group, sample.row, sample.column);
  const at = sample.row * found.columns.output + sample.column;
  showMaps(at, shown);
  showEquation(told, at, shown);
  drawMarks(told);
  showExplainCommand();
  return told;
}

/** Buttons with the sums of the other planes, and the kernels behind a combined value. */
function showMaps(at, shown) {
  const holder = byId("maps"), focused = holder.contains(document.activeElement) ? document.activeElement.dataset.group : null;
  const buttons = found.groups.map((group, index) => {
    const value = found.maps[shown][index][at];
    return make("button", `${groupName(group)} ${short(value)}`, { type: "button", "data-group": index, "aria-pressed": index === sample.group });
  });
  const parts = found.groups.length > 1 ? buttons : [];
  if (settings.combine !== "none") {
    const sums = found.used.map(({ name }, index) => `${printable(name)} ${short(found.maps[index][sample.group][at])}`);
    const listed = sums.length > 8 ? [...sums.slice(0, 8), `… ${sums.length - 8} more`] : sums;
    parts.push(make("span", `${listed.join(", ")} \u2192 ${settings.combine} ${short(found.result[sample.group][at])}`, { class: "result" }));
  }
  holder.replaceChildren(...parts);
  if (focused !== null) holder.querySelector(`[data-group="${focused}"]`)?.focus();
}

function showEquation(told, at, shown) {
  const equation = byId("equation"), kernel = printable(found.used[shown].name);
  const where = `row ${told.row}, column ${told.column}`;
  const cells = [];
  const outside = told.parts[0].inside.flat().filter((own) => !own).length;
  if (!told.taps.length || !told.taps[0].length) {
    cells.push(make("p", "No tap meets this sample: only the bias is there."));
  } else {
    const names = told.parts.length > 1 ? told.parts.map(({ name }) => name) : [groupName(found.groups[sample.group])];
    told.parts.forEach((part, index) => {
      if (index) cells.push(make("span", "+", { class: "sign" }));
      cells.push(table(`patch of ${names[index]}`, part.patch, "grey", part.inside));
      cells.push(make("span", "\u00d7", { class: "sign" }));
      cells.push(table(settings.mode === "convolve" ? "taps, turned" : "taps", told.taps, "sign"));
      cells.push(make("span", "=", { class: "sign" }));
      cells.push(table("products", part.products, "sign"));
    });
  }
  const total = make("div", `\u2192 ${short(told.sum)}`, { class: "total" });
  if (settings.bias) total.textContent += ` ${settings.bias < 0 ? "\u2212" : "+"} ${short(Math.abs(settings.bias))} = ${short(told.value)}`;
  total.append(make("small", `sum${settings.bias ? " and bias" : ""}, ${kernel}`));
  cells.push(total);
  equation.replaceChildren(...cells);
  const stored = found.samples[sample.group][at], result = found.result[sample.group][at];
  const value = settings.combine === "none" ? short(told.value) : `${kernel} ${short(told.value)}, ${settings.combine} of all ${short(result)}`;
  const border = outside ? `; ${outside} of ${told.parts[0].inside.flat().length} samples lie outside, in [brackets]` : "";
  byId("told").textContent = `Output ${where}: ${groupName(found.groups[sample.group])} ${value}, stored as ${stored} by tone ${found.tone}${border}.`;
}

/** A table of numbers; wide ones as colours only. */
function table(title, lines, colours, inside) {
  const dense = lines[0].length > MOST_WRITTEN || lines.length > 2 * MOST_WRITTEN;
  const element = make("table", "", { class: dense ? "dense" : "" });
  element.append(make("caption", dense ? `${title} (${lines.length}\u00d7${lines[0].length})` : title));
  const most = largest(lines);
  lines.forEach((line, y) => {
    const row = element.insertRow();
    line.forEach((value, x) => {
      const cell = row.insertCell();
      cell.textContent = dense ? "" : short(value, 4);
      cell.title = short(value, 9);
      if (colours === "grey") {
        const grey = Math.round(Math.min(Math.max(value, 0), 255));
        cell.style.background = `rgb(${grey} ${grey} ${grey})`;
        cell.style.color = grey > 127 ? "#000" : "#fff";
      } else cell.style.background = tapColour(value, most);
      if (inside && !inside[y][x]) {
        cell.className = "outside";
        if (!dense) cell.textContent = `[${cell.textContent}]`; // as `convcli explain` prints it
        cell.title += ", outside the picture";
      }
    });
  });
  return element;
}

/** Mark the window on the input and the sample on the output, and ring both so that small ones are found. */
function drawMarks(told) {
  const mark = getComputedStyle(document.documentElement).getPropertyValue("--mark");
  const frame = (canvas, top, left, height, width) => {
    const overlay = canvas.parentElement.querySelector(".overlay"), ratio = devicePixelRatio || 1;
    const box = overlay.getBoundingClientRect(), shown = pictureBox(canvas);
    overlay.width = box.width * ratio;
    overlay.height = box.height * ratio;
    const context = overlay.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, (shown.left - box.left) * ratio, (shown.top - box.top) * ratio);
    const [x, y, w, h] = [left * shown.scale, top * shown.scale, width * shown.scale, height * shown.scale];
    const ring = Math.max(Math.hypot(w, h) / 2 + 4, 13);
    for (const [colour, line] of [["#000", 4], [mark, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(x - 1, y - 1, w + 2, h + 2);
      if (ring < 40) {
        context.beginPath();
        context.arc(x + w / 2, y + h / 2, ring, 0, 7);
        context.stroke();
      }
    }
  };
  frame(byId("output"), told.row, told.column, 1, 1);
  const { rows, columns } = told;
  if (rows.length && columns.length) {
    frame(byId("input"), rows[0], columns[0], rows.at(-1) - rows[0] + 1, columns.at(-1) - columns[0] + 1);
  }
}

/** Where a canvas shows its picture: left, top and CSS pixels per sample (it may be letterboxed). */
function pictureBox(canvas) {
  const box = canvas.getBoundingClientRect();
  const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
  return { left: box.left, top: box.top, scale };
}

/** The row and column of a canvas that a pointer is over. */
function pointed(canvas, event) {
  const { left, top, scale } = pictureBox(canvas);
  return [Math.floor((event.clientY - top) / scale), Math.floor((event.clientX - left) / scale)];
}

/** The output whose window's middle is nearest to an input sample, along one axis. */
function outputNear(axis, at) {
  const middle = (axis.dilation * (axis.kernel - 1)) / 2;
  return settings.transposed
    ? Math.round(at * axis.stride - axis.before + middle)
    : Math.round((at + axis.before - middle) / axis.stride);
}

function pointOutput(event) {
  if (found) showSample(...pointed(byId("output"), event));
}

function pointInput(event) {
  if (!found) return;
  const [row, column] = pointed(byId("input"), event);
  showSample(outputNear(found.rows, row), outputNear(found.columns, column));
}

function outputKey(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || !found || event.ctrlKey || event.metaKey || event.altKey) return;
  const by = event.shiftKey ? 10 : 1;
  byId("told").setAttribute("aria-live", "polite");
  showSample(sample.row + by * step[0], sample.column + by * step[1]);
  event.preventDefault();
}

/* ---------------------------------------------------------------- camera */

async function toggleCamera() {
  if (stream) {
    stopCamera();
    showCommand();
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    showProblem(`the camera cannot be used: ${error.message}`);
    return;
  }
  byId("webcam").setAttribute("aria-pressed", "true");
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = stream;
  await video.play();
  const frame = () => {
    if (!stream) return;
    setPhoto(photoOf(shrink(video, video.videoWidth, video.videoHeight), "camera.png", null, false));
    setTimeout(frame, 60);
  };
  frame();
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("webcam").setAttribute("aria-pressed", "false");
}

/* ---------------------------------------------------------------- begin */

function listen() {
  byId("settings").addEventListener("input", update);
  byId("settings").addEventListener("submit", (event) => event.preventDefault());
  byId("bank").addEventListener("change", (event) => { loadBank(Number(event.target.value)); update(); });
  byId("reset").addEventListener("click", () => { loadBank(Number(byId("bank").value)); update(); });
  byId("shown").addEventListener("change", () => { fillGrid(); update(); });
  byId("combine").addEventListener("change", update);
  byId("grid").addEventListener("input", (event) => editTap(event.target));
  byId("grid").addEventListener("focusin", (event) => {
    if (event.target.title) event.target.value = event.target.title; // every digit while it is edited
    event.target.select?.();
  });
  byId("grid").addEventListener("focusout", (event) => {
    if (event.target.title && !event.target.matches('[aria-invalid="true"]')) event.target.value = short(Number(event.target.title), 4).replace("\u2212", "-");
  });
  byId("grid").addEventListener("keydown", gridKey);
  byId("grid-rows").addEventListener("change", resizeKernels);
  byId("grid-columns").addEventListener("change", resizeKernels);
  for (const type of ["pointermove", "pointerdown"]) {
    byId("output").addEventListener(type, pointOutput);
    byId("input").addEventListener(type, pointInput);
  }
  // A pointer would make the live region speak at every step; only the keyboard does.
  byId("output").addEventListener("pointermove", () => byId("told").setAttribute("aria-live", "off"));
  byId("output").addEventListener("keydown", outputKey);
  byId("maps").addEventListener("click", (event) => {
    if (event.target.dataset.group === undefined) return;
    sample.group = Number(event.target.dataset.group);
    showSample(sample.row, sample.column);
  });
  addEventListener("resize", () => found && showSample(sample.row, sample.column));
  for (const button of document.querySelectorAll("[data-copies]")) button.addEventListener("click", copy);
  listenForPictures();
}

function listenForPictures() {
  byId("open").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => event.target.files[0] && openFile(event.target.files[0]));
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });
  byId("webcam").hidden = !navigator.mediaDevices?.getUserMedia;
  byId("webcam").addEventListener("click", toggleCamera);
}

async function copy(event) {
  const button = event.currentTarget, source = byId(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source); // no clipboard here: the reader copies what is selected
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1200);
}

/** Set controls by name, as the start of the page and tests do. */
function setControls(values) {
  for (const [id, value] of Object.entries(values)) {
    const control = byId(id);
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }
}

async function begin() {
  fillBanks();
  listen();
  const start = data.start;
  loadBank(start.bank);
  if (start.shown !== null) {
    byId("shown").value = String(start.shown);
    byId("combine").value = "none";
    fillGrid();
  }
  setPhoto(await embeddedPhoto());
  setControls(start.controls);
  sample = { row: start.at?.[0] ?? Math.floor(photo.height / 3), column: start.at?.[1] ?? Math.floor(photo.width / 3), group: start.group };
  compute();
  document.body.dataset.ready = "yes";
}

begin();
