/* What all parts of the page share, numbers and words as text, and the controls as settings of `convolve`.
 *
 * Names come from files and from banks: they are only ever set as text, and quoted for a shell.
 */
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

/** A number for the eye: six digits, as `convcli explain` prints it. */
function short(value, digits = 6) {
  return String(Number((value + 0).toPrecision(digits))).replace("-", "\u2212");
}

/** A number for a field of six letters: as many digits as fit. */
function brief(value) {
  for (let digits = 4; digits > 1; digits--) {
    const text = short(value, digits).replace("\u2212", "-");
    if (text.length <= 6) return text;
  }
  return short(value, 1).replace("\u2212", "-");
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
