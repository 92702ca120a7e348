/* The menu of kernels, and the grid in which their taps are edited. */
"use strict";

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
  const words = { magnitude: "magnitude", max: "largest", min: "smallest", sum: "sum", mean: "mean" };
  const ways = bank.combine === null ? [] : Object.entries(words);
  byId("combine").replaceChildren(new Option("these taps", "none"), ...ways.map(([value, text]) => new Option(text, value)));
  byId("combine").value = bank.combine in words ? bank.combine : "none";
  byId("bias").value = String(bank.bias ?? 0);
  byId("shown-label").hidden = byId("combine-label").hidden = kernels.length === 1;
  fillGrid();
}

const shownKernel = () => kernels[Number(byId("shown").value)];

function tapColour(value, most) {
  if (!value || !most) return "";
  const share = Math.round(6 + 69 * Math.min(Math.abs(value) / most, 1));
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
  field.value = brief(tap);
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

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Divide the taps by their sum, which keeps the brightness of even areas. */
function normaliseKernel() {
  const kernel = shownKernel(), total = sum(kernel.taps.flat());
  kernel.taps = kernel.taps.map((row) => row.map((tap) => tap / total));
  fillGrid();
  update();
}

function kernelFacts() {
  const flat = shownKernel().taps.flat();
  byId("normalise").disabled = isZeroSum(shownKernel().taps) || sum(flat) === 1;
  const plus = sum(flat.filter((tap) => tap > 0)), minus = sum(flat.filter((tap) => tap < 0));
  return `Taps add up to ${short(plus + minus)}: 0…255 becomes ${short(255 * minus + settings.bias)} to ${short(255 * plus + settings.bias)} at most.`;
}
