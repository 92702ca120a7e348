/* One output sample written out, and how pointer and keys choose it. */
"use strict";

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
  const border = outside ? `; ${outside} of ${told.parts[0].inside.flat().length} samples lie outside, ${isDense(told.taps) ? "pale" : "in [brackets]"}` : "";
  byId("told").textContent = `Output ${where}: ${groupName(found.groups[sample.group])} ${value}, stored as ${stored} by tone ${found.tone}${border}.`;
}

/** Whether a window is too large for its numbers to be written out. */
const isDense = (lines) => lines.length > 2 * MOST_WRITTEN || lines.some((line) => line.length > MOST_WRITTEN);

/** A table of numbers; wide ones as colours only. */
function table(title, lines, colours, inside) {
  const dense = isDense(lines);
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
