/* The page begins: listeners, then the picture and the settings it was written with. */
"use strict";

function listen() {
  byId("settings").addEventListener("input", update);
  byId("settings").addEventListener("submit", (event) => event.preventDefault());
  byId("bank").addEventListener("change", (event) => { loadBank(Number(event.target.value)); update(); });
  byId("reset").addEventListener("click", () => { loadBank(Number(byId("bank").value)); update(); });
  byId("normalise").addEventListener("click", normaliseKernel);
  byId("shown").addEventListener("change", () => { fillGrid(); update(); });
  byId("combine").addEventListener("change", update);
  byId("grid").addEventListener("input", (event) => editTap(event.target));
  byId("grid").addEventListener("focusin", (event) => {
    if (event.target.title) event.target.value = event.target.title; // every digit while it is edited
    event.target.select?.();
  });
  byId("grid").addEventListener("focusout", (event) => {
    if (event.target.title && !event.target.matches('[aria-invalid="true"]')) event.target.value = brief(Number(event.target.title));
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
