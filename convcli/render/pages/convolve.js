/* Convolution in plain numbers, by the rules of convcli's engine; nothing here knows the page.
 *
 * An axis maps every output position to the taps and the input samples that make it. Borders are index maps, so a pad
 * may be larger than the picture. Sums are made in double precision and rounded to single precision once, as the
 * engine's are; a transposed convolution meets only the taps of its phase. Rows come before columns everywhere.
 */
"use strict";

/** A mistake of the reader, with a sentence for the page. */
class Problem extends Error {}

const CONSTANT = -1; // this position holds the border's value
const NOTHING = -2; // this tap meets no sample at this output

/** Remainder that is never negative. */
const modulo = (a, n) => ((a % n) + n) % n;

/** The sample that stands at a position of an axis of `size` samples, or CONSTANT. */
function borderIndex(position, size, mode) {
  if (position >= 0 && position < size) return position;
  if (mode === "replicate") return position < 0 ? 0 : size - 1;
  if (mode === "circular") return modulo(position, size);
  if (mode === "symmetric") {
    const folded = modulo(position, 2 * size);
    return Math.min(folded, 2 * size - 1 - folded);
  }
  if (mode === "reflect") {
    const period = Math.max(2 * size - 2, 1); // one sample reflects into itself
    const folded = modulo(position, period);
    return size > 1 ? Math.min(folded, period - folded) : 0;
  }
  return CONSTANT;
}

/** Pixels before and after an axis that a padding word or a pair of numbers means. */
function resolvePadding(padding, size, kernel, stride, dilation, transposed, extra) {
  if (typeof padding !== "string") return padding;
  const covers = dilation * (kernel - 1) + 1;
  if (padding === "valid") return [0, 0];
  if (padding === "full") return [covers - 1, covers - 1];
  const total = transposed
    ? covers + extra - stride
    : Math.max((Math.ceil(size / stride) - 1) * stride + covers - size, 0);
  if (total < 0) {
    throw new Problem(`a window of ${covers} px with stride ${stride} leaves gaps: "${padding}" cannot be kept`);
  }
  const less = Math.floor(total / 2);
  return padding === "same" ? [less, total - less] : [total - less, less];
}

/** One axis of a convolution: its output length and, for every output, the taps and positions of its window. */
function makeAxis({ name, size, kernel, stride, dilation, padding, transposed, extra }) {
  const [before, after] = resolvePadding(padding, size, kernel, stride, dilation, transposed, extra);
  const covers = dilation * (kernel - 1) + 1;
  let output;
  if (transposed) {
    const limit = Math.max(stride, dilation);
    if (extra >= limit) throw new Problem(`output padding ${extra} must be below ${limit}, the larger of stride and dilation`);
    output = (size - 1) * stride + covers + extra - before - after;
    if (output < 1) throw new Problem(`padding cuts all ${name}: ${output + before + after} px less ${before + after}`);
  } else {
    output = Math.floor((size + before + after - covers) / stride) + 1;
    if (covers > size + before + after) {
      throw new Problem(`the window covers ${covers} ${name} and does not fit ${size} px padded to ${size + before + after}`);
    }
  }
  /** Taps and positions of the window of output `at`, in the order in which it runs over the picture. */
  const windowAt = (at) => {
    const taps = [], positions = [];
    for (let tap = 0; tap < kernel; tap++) {
      if (!transposed) {
        taps.push(tap);
        positions.push(at * stride - before + dilation * tap);
      } else if (modulo(at + before - dilation * tap, stride) === 0) {
        // Larger taps meet earlier samples: turned round, the window runs forward.
        taps.unshift(tap);
        positions.unshift((at + before - dilation * tap) / stride);
      }
    }
    return { taps, positions };
  };
  return { name, size, kernel, stride, dilation, before, after, output, windowAt };
}

/** For every tap the sample that each output takes: an index, CONSTANT or NOTHING. */
function tapTables(axis, mode) {
  const tables = Array.from({ length: axis.kernel }, () => new Int32Array(axis.output).fill(NOTHING));
  for (let at = 0; at < axis.output; at++) {
    const { taps, positions } = axis.windowAt(at);
    taps.forEach((tap, place) => { tables[tap][at] = borderIndex(positions[place], axis.size, mode); });
  }
  return tables;
}

/** Rows and columns of a convolution of `height` × `width` samples with kernels of `taps`' size. */
function makeAxes(height, width, taps, settings) {
  const pads = typeof settings.padding === "string" ? [settings.padding, settings.padding] : settings.padding;
  const common = { transposed: settings.transposed };
  return [["rows", height, taps.length], ["columns", width, taps[0].length]].map(([name, size, kernel], axis) =>
    makeAxis({
      ...common, name, size, kernel, stride: settings.stride[axis], dilation: settings.dilation[axis],
      padding: pads[axis], extra: settings.outputPadding[axis],
    }));
}

/** Correlation taps: `convolve` turns the kernel by 180 degrees; zeros behind an even axis keep its anchor. */
function oriented(taps, mode) {
  if (mode !== "convolve") return taps;
  const turned = (line, zero) => [...line].reverse().concat(line.length % 2 ? [] : [zero]);
  const rows = taps.map((row) => turned(row, 0));
  return turned(rows, rows[0].map(() => 0));
}

/** Planes of the photo that take part, as {name, values}: all, one of them, or BT.601 luma. */
function choosePlanes(photo, channels) {
  const planes = photo.planes.map((name, at) => ({ name, values: photo.values[at] }));
  if (channels === "all") return planes;
  if (channels !== "luma") return planes.filter((plane) => plane.name === channels);
  if (planes.length < 3) return planes;
  const weights = [0.299, 0.587, 0.114].map(Math.fround), rounded = Math.fround;
  const luma = Float32Array.from(planes[0].values, (red, at) => rounded(
    rounded(rounded(red * weights[0]) + rounded(planes[1].values[at] * weights[1]))
    + rounded(planes[2].values[at] * weights[2])));
  return [{ name: "luma", values: luma }];
}

/** Add one plane, weighted by one kernel, to `sums`. */
function accumulate(sums, values, taps, rows, columns, border) {
  const tapRows = tapTables(rows, border.mode), tapColumns = tapTables(columns, border.mode);
  taps.forEach((line, row) => line.forEach((tap, column) => {
    if (tap === 0) return;
    const fromColumns = tapColumns[column];
    for (let y = 0, into = 0; y < rows.output; y++, into += columns.output) {
      const from = tapRows[row][y];
      if (from === NOTHING) continue;
      const start = from * columns.size;
      for (let x = 0; x < columns.output; x++) {
        const at = fromColumns[x];
        if (at === NOTHING) continue;
        sums[into + x] += tap * (from < 0 || at < 0 ? border.value : values[start + at]);
      }
    }
  }));
}

const COMBINE = {
  magnitude: (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)),
  max: (values) => Math.max(...values),
  min: (values) => Math.min(...values),
  sum: (values) => values.reduce((sum, value) => sum + value, 0),
  mean: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
};

/** Whether taps sum to zero within the rounding of published tables. */
function isZeroSum(taps) {
  const flat = taps.flat();
  return Math.abs(flat.reduce((a, b) => a + b, 0)) <= 1e-3 * flat.reduce((a, b) => a + Math.abs(b), 0);
}

/** Convolve: the maps of every kernel that takes part, the planes of the result, and what its tone made of them.
 *
 * settings: kernels [{name, taps}], shown, combine, stride, dilation, outputPadding [rows, columns], padding (a word or
 * [[top, bottom], [left, right]]), transposed, border {mode, value}, mode, channels, groups ("auto" or "1"), bias, tone.
 */
function convolve(photo, settings) {
  const together = settings.combine !== "none";
  const used = (together ? settings.kernels : [settings.kernels[settings.shown]])
    .map((kernel) => ({ ...kernel, taps: oriented(kernel.taps, settings.mode) }));
  const border = settings.transposed ? { mode: "constant", value: 0 } : settings.border;
  const [rows, columns] = makeAxes(photo.height, photo.width, used[0].taps, settings);
  const planes = choosePlanes(photo, settings.channels);
  const groups = settings.groups === "1" ? [planes] : planes.map((plane) => [plane]);
  const size = rows.output * columns.output;
  if (size > 4e6) throw new Problem(`an output of ${rows.output} × ${columns.output} is too large for this page`);
  const maps = used.map(({ taps }) => groups.map((group) => {
    const sums = new Float64Array(size);
    for (const plane of group) accumulate(sums, plane.values, taps, rows, columns, border);
    return Float32Array.from(sums, (sum) => Math.fround(sum) + settings.bias);
  }));
  const result = groups.map((_, at) => {
    if (!together) return maps[0][at];
    const parts = maps.map((map) => map[at]), combine = COMBINE[settings.combine];
    return Float32Array.from(parts[0], (_value, place) => combine(parts.map((part) => part[place])));
  });
  const tone = settings.tone === "auto" ? autoTone(used, settings, groups[0].length) : settings.tone;
  return { rows, columns, planes, groups, border, used, maps, result, tone, ...store(result, tone) };
}

/** Choose the tone that auto means; the rule is that of convcli/pipeline/tones.py. */
function autoTone(used, settings, nPlanes) {
  const spread = settings.transposed ? settings.stride[0] * settings.stride[1] : 1;
  const natures = new Set(used.map(({ taps }) => {
    if (isZeroSum(taps)) return settings.bias === 0 ? "zero-sum" : settings.bias > 0 ? "biased" : "other";
    const sum = taps.flat().reduce((a, b) => a + b, 0);
    return Math.abs((sum * nPlanes) / spread - 1) <= 0.02 ? "brightness" : "other";
  }));
  if (settings.combine === "magnitude") return "clip";
  if (natures.size > 1 || (settings.combine === "sum" && natures.has("brightness"))) return "stretch";
  return { "zero-sum": "abs", brightness: "clip", biased: "clip", other: "stretch" }[[...natures][0]];
}

/** Round half to even. */
function roundEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Store maps with 8 bits by a tone: one scale for all, saturating, counting what is clipped. */
function store(maps, tone) {
  let low = Infinity, high = -Infinity, total = 0, clipped = 0;
  for (const map of maps) for (const value of map) {
    if (value < low) low = value;
    if (value > high) high = value;
    total += value;
  }
  const peak = Math.max(-low, high), span = high - low;
  const [gain, offset] = {
    clip: [1, 0],
    abs: [1, 0],
    signed: [peak > 0 ? 127 / peak : 0, 128],
    stretch: [span > 0 ? 255 / span : 0, span > 0 ? -low * (255 / span) : 0],
  }[tone].map(Math.fround);
  const samples = maps.map((map) => Uint8Array.from(map, (value) => {
    const stored = roundEven(Math.fround(Math.fround((tone === "abs" ? Math.abs(value) : value) * gain) + offset));
    if (stored < 0 || stored > 255) clipped++;
    return Math.min(Math.max(stored, 0), 255);
  }));
  const n = maps.length * maps[0].length;
  return { samples, low, high, mean: total / n, clipped, n };
}

/** Write one output sample out: for each plane of its group the patch, whether it is the photo's, taps and products. */
function explainSample(found, settings, shown, group, row, column) {
  const { taps } = found.used[shown];
  const down = found.rows.windowAt(row), across = found.columns.windowAt(column);
  const chosen = down.taps.map((r) => across.taps.map((c) => taps[r][c]));
  const { rows, columns, border } = found;
  const parts = found.groups[group].map(({ name, values }) => {
    const patch = down.positions.map((y) => across.positions.map((x) => {
      const fromRow = borderIndex(y, rows.size, border.mode), fromColumn = borderIndex(x, columns.size, border.mode);
      return fromRow < 0 || fromColumn < 0 ? border.value : values[fromRow * columns.size + fromColumn];
    }));
    const inside = down.positions.map((y) =>
      across.positions.map((x) => y >= 0 && y < rows.size && x >= 0 && x < columns.size));
    const products = patch.map((line, y) => line.map((value, x) => value * chosen[y][x]));
    return { name, patch, inside, products, sum: products.flat().reduce((a, b) => a + b, 0) };
  });
  const sum = parts.reduce((total, part) => total + part.sum, 0);
  return { row, column, rows: down.positions, columns: across.positions, taps: chosen, parts, sum, value: sum + settings.bias };
}
