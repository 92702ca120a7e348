/* Pictures in: the embedded photo, files that are dropped or chosen, the camera; and planes drawn on a canvas. */
"use strict";

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
