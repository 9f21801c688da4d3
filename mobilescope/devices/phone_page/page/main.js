// The page put together: what the operator sees, and who is told what.

import { Lens } from "./lens.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { Preview } from "./preview.js";

const $ = (id) => document.getElementById(id);
const PREVIEW = { width: 1280, height: 720, fps: 30 };
const options = new URLSearchParams(location.search);

const state = {
  link: "connecting", camera: false, opening: false, wishes: {}, settleMs: 1000, enhances: false, view: "both", taking: false, done: new Set(),
  // Stills that the computer asked for, in order: request to when, "now" or "tap".
  wanted: new Map(),
  saved: 0, waiting: 0, wake: "not offered", turn: "not offered",
};

// What the page shows.

function cover(title, text, { button = "", code = false, thin = false, action = null } = {}) {
  $("cover").hidden = false;
  $("cover").classList.toggle("thin", thin);
  $("cover-title").textContent = title;
  $("cover-text").textContent = text;
  $("code-form").hidden = !code;
  $("cover-button").hidden = !button;
  $("cover-button").textContent = button;
  $("cover-button").onclick = action;
}

function note(text, bad = false) {
  $("note").textContent = text;
  $("note").classList.toggle("bad", bad);
}

function show() {
  const good = state.link === "connected" && state.camera;
  $("dot").className = `dot ${good ? "good" : state.link === "lost" ? "bad" : ""}`;
  $("state").textContent = { connected: state.camera ? "Connected" : "Connected, no camera", lost: "No connection: trying again" }[state.link] ?? state.link;
  $("shutter").disabled = !state.camera || state.taking;
  $("shutter").classList.toggle("busy", state.taking);
  $("shutter").classList.toggle("wanted", state.wanted.size > 0);
  $("saved-count").textContent = state.waiting ? `${state.saved} +${state.waiting}` : state.saved;
  $("saved-count").className = state.waiting ? "warn" : "good";
  $("saved-label").textContent = state.waiting ? "saved, on the phone" : "saved";
  $("views").hidden = !state.enhances;
  $("enhanced-pane").hidden = !state.enhances || state.view === "camera";
  $("camera-pane").hidden = state.enhances && state.view === "enhanced";
  for (const button of $("views").children) button.classList.toggle("on", button.dataset.view === state.view);
}

function showSettings() {
  const rows = lens.rows();
  const locked = rows.filter((row) => row.state === "locked").length;
  const offered = rows.filter((row) => row.state !== "not offered").length;
  $("locked-count").textContent = offered ? `${locked}/${offered}` : "none";
  $("locked-count").className = offered && locked === offered ? "good" : "warn";
  if (document.activeElement?.type !== "range") {
    $("rows").replaceChildren(...rows.map((row) => {
      const item = document.createElement("li");
      const line = document.createElement("div");
      line.className = "row";
      const name = document.createElement("b");
      const value = document.createElement("output");
      const chip = document.createElement("span");
      name.textContent = row.title;
      value.textContent = row.got ?? "";
      chip.textContent = row.state === "refused" && row.wanted ? `refused (${row.wanted})` : row.state ?? "";
      chip.className = `chip ${row.state}`;
      line.append(name, value, chip);
      item.append(line);
      if (row.range && row.now !== undefined) {
        const slider = document.createElement("input");
        Object.assign(slider, { type: "range", min: row.range.min, max: row.range.max, step: row.range.step || "any" });
        slider.value = row.now;
        slider.setAttribute("aria-label", row.title);
        slider.oninput = () => { value.textContent = `${Math.round(slider.value * row.per * 1000) / 1000} ${row.unit}`; };
        slider.onchange = async () => { await lens.set(row.name, slider.value * row.per); slider.blur(); showSettings(); };
        item.append(slider);
      }
      return item;
    }));
  }
  const { width, height } = lens.plan ?? {};
  const facts = {
    Stills: width ? `${width} × ${height}, ${lens.method}` : "–", Preview: `${$("video").videoWidth} × ${$("video").videoHeight}, ${preview.codec}`,
    "Screen awake": state.wake, "Turning locked": state.turn, Name: link.name,
  };
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
  $("size").textContent = `${$("video").videoWidth} × ${$("video").videoHeight}`;
}

// The connection.

const link = new Link({
  state(name, reason) {
    state.link = name;
    if (name === "connected") {
      begin();
      outbox.flush();
    } else if (name === "unpaired") {
      cover("Pair this phone", reason || "Scan the code that the computer's terminal shows, or type it here.", { code: true });
    } else if (name === "occupied") {
      cover("In use", `${reason} is connected. Only one phone can take the pictures.`, {
        button: "Take over", action: () => link.connect({ takeOver: true }),
      });
    } else if (name === "taken over") {
      cover("Another phone is connected", `${reason}. Stills that wait here are still sent.`, {
        button: "Take it back", thin: true, action: () => link.connect({ takeOver: true }),
      });
      outbox.flush();
    } else if (name === "refused") {
      cover("Refused", reason, { button: "Reload", action: () => location.reload() });
    } else if (!state.camera) {
      cover("No connection", "The computer does not answer. Is the program running, and the cable or the WLAN there?");
    }
    show();
  },
  message(message) {
    if (message.kind === "welcome") {
      state.wishes = message.locks;
      state.settleMs = message.settle_ms;
      state.enhances = message.enhances;
      state.saved = message.stills;
      state.wanted.clear();
      preview.wantKey = true;
      preview.begun.clear();
      if (state.camera) report();
      link.send({ kind: "visible", visible: document.visibilityState === "visible" });
    } else if (message.kind === "seen") preview.seen(message.number);
    else if (message.kind === "key_wanted") preview.wantKey = true;
    else if (message.kind === "take") asked(message);
    else if (message.kind === "take_done") state.wanted.delete(message.request);
    else if (message.kind === "guidance") {
      $("guidance").textContent = message.text;
      $("guidance").className = `guidance ${message.level}`;
    } else if (message.kind === "warning") {
      $("warning").textContent = message.text;
      $("warning").hidden = !message.text;
    } else return;
    show();
  },
  async picture(header, blob) {
    const picture = await createImageBitmap(blob);
    const canvas = $("enhanced");
    if (canvas.width !== picture.width || canvas.height !== picture.height) Object.assign(canvas, { width: picture.width, height: picture.height });
    canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
    picture.close();
    const delay = header.captured_ms == null ? header.delay_ms : performance.now() - header.captured_ms;
    $("enhanced-label").textContent = `${header.method}, ${Math.round(delay)} ms, ${header.trust}`;
    $("enhanced-label").className = `label ${{ trusted: "trusted", caution: "caution", "not for use": "refused" }[header.trust] ?? ""}`;
    $("enhanced-note").textContent = header.note;
  },
});

// The camera.

const preview = new Preview($("video"), link, { jpegOnly: options.get("preview") === "jpeg" });
const lens = new Lens($("video"), PREVIEW, () => report());
lens.raising = (up) => { preview.paused = up; };
preview.resized = () => {
  if (preview.paused) return;
  preview.start(PREVIEW.fps);
  turned();
};

// A phone that was turned gives pictures of another shape: find out which, then tell.
async function turned() {
  if (state.turning) return;
  state.turning = true;
  try {
    await lens.alone(() => lens.planStills());
  } catch (error) {
    note(`The camera does not answer: ${error.message}`, true);
  } finally {
    state.turning = false;
  }
  report();
}

async function begin() {
  if (state.camera) {
    $("cover").hidden = true;
    return;
  }
  if (!navigator.mediaDevices?.getUserMedia) {
    failed("This browser gives no camera here. Open the page by https, or by http://localhost over USB.");
    return;
  }
  const known = await navigator.permissions?.query({ name: "camera" }).catch(() => null);
  if (known?.state === "granted") start();
  else if (!state.opening) cover("Ready", "The browser will ask for the camera. Allow it, then lay the phone on the scope.", { button: "Start camera", action: start });
}

async function start() {
  if (state.opening || state.camera) return;
  state.opening = true;
  cover("One moment", "Opening the camera and holding its settings…");
  try {
    await lens.open(state, failed);
    await preview.start(PREVIEW.fps);
    state.camera = true;
    $("cover").hidden = true;
    await Promise.all([keepAwake(), keepTurned()]);
    report();
    serve();
  } catch (error) {
    failed({
      NotAllowedError: "The camera was not allowed. Allow it in the browser's settings for this page.",
      NotFoundError: "There is no camera here.", NotReadableError: "Another app uses the camera. Close it.",
    }[error.name] ?? `The camera can't be opened: ${error.message}`);
  } finally {
    state.opening = false;
    show();
  }
}

function failed(reason) {
  state.camera = false;
  preview.stop();
  lens.close();
  link.send({ kind: "camera_failed", reason: reason.slice(0, 280) });
  cover("No camera", reason, { button: "Try again", action: start });
  show();
}

function report() {
  if (!lens.plan?.width) return;
  // Not the video's own size, which is raised for the moment of a still.
  const [width, height] = preview.size ?? [$("video").videoWidth, $("video").videoHeight];
  link.send({
    kind: "camera", width, height, still_width: lens.plan.width,
    still_height: lens.plan.height, still_method: lens.method, codec: preview.codec, settings: lens.reports,
    orientation: screen.orientation?.type ?? "", orientation_lock: state.turn, wake_lock: state.wake,
  });
  showSettings();
}

async function keepAwake() {
  if (!navigator.wakeLock) return;
  try {
    const lock = await navigator.wakeLock.request("screen");
    state.wake = "held";
    lock.onrelease = () => { state.wake = "released"; report(); };
  } catch (error) {
    state.wake = "refused";
  }
}

async function keepTurned() {
  try {
    await screen.orientation.lock(screen.orientation.type);
    state.turn = "held";
  } catch (error) {
    state.turn = screen.orientation?.lock ? "refused" : "not offered";
  }
}

// Stills.

const outbox = new Outbox(() => link.secret, {
  waiting(count) { state.waiting = count; show(); },
  saved(answer) {
    state.saved += answer.again ? 0 : 1;
    note(answer.width ? `Saved: ${answer.width} × ${answer.height}` : `Saved: ${answer.saved}`);
    show();
  },
  trouble(text) { note(text, true); },
});

async function asked({ request, when }) {
  state.wanted.set(request, when);
  if (state.done.has(request) || (await outbox.requests()).has(request)) {
    state.wanted.delete(request);
    outbox.flush();
  }
  show();
  serve();
}

// Takes what is wanted at once: also what was asked for while a still was taken, or the camera not yet open.
function serve() {
  const request = [...state.wanted].find(([, when]) => when === "now")?.[0];
  if (request) take(request);
}

async function take(request = state.wanted.keys().next().value) {
  if (state.taking || !state.camera) return;
  state.taking = true;
  state.wanted.delete(request);
  show();
  try {
    const [phoneMs, wallMs] = [performance.now(), Date.now()];
    const blob = await lens.still();
    $("flash").classList.remove("on");
    void $("flash").offsetWidth;
    $("flash").classList.add("on");
    lens.readAll();
    await outbox.add(blob, {
      request, source: "camera", method: lens.method, phone_ms: phoneMs, wall_ms: wallMs,
      orientation: screen.orientation?.type ?? "", settings: lens.reports,
    });
    if (request) state.done.add(request);
  } catch (error) {
    note(`No still: ${error.message}`, true);
    if (request) link.send({ kind: "take_failed", request, reason: String(error.message).slice(0, 280) });
  } finally {
    state.taking = false;
    // It may have been asked for once more meanwhile, by a connection that came back.
    state.wanted.delete(request);
    show();
    serve();
  }
}

// Buttons and the rest of the phone.

$("shutter").onclick = () => take();
$("open-settings").onclick = () => { $("settings").hidden = false; showSettings(); };
$("close-settings").onclick = () => { $("settings").hidden = true; };
for (const button of $("views").children) button.onclick = () => { state.view = button.dataset.view; show(); };
$("code-form").onsubmit = (event) => {
  event.preventDefault();
  link.connect({ code: $("code").value.trim() });
};
$("files").onchange = async (event) => {
  const failed = [];
  for (const file of event.target.files) {
    note(`Sending ${file.name}`);
    try {
      await outbox.add(file, { request: null, source: "file", wall_ms: file.lastModified, name: file.name });
    } catch (error) {
      failed.push(`${file.name} (${error.message})`);
    }
  }
  event.target.value = "";
  if (!failed.length) return;
  const text = `Not sent, choose again: ${failed.join(", ")}`;
  note(text, true);
  // What is told of the other files must not hide it.
  await outbox.flush();
  note(text, true);
};
document.addEventListener("visibilitychange", () => {
  const visible = document.visibilityState === "visible";
  link.send({ kind: "visible", visible });
  if (visible && state.camera) keepAwake().then(report);
});
screen.orientation?.addEventListener?.("change", () => setTimeout(() => state.camera && turned(), 400));
setInterval(() => {
  const trip = preview.roundTripMs;
  link.send({ kind: "rates", fps: preview.sent, round_trip_ms: trip, dropped: preview.dropped, waiting: state.waiting });
  $("figures").textContent = state.camera && state.link === "connected" ? `${preview.sent} /s${trip === null ? "" : `, ${Math.round(trip)} ms`}` : "";
  preview.sent = preview.dropped = 0;
}, 1000);

const code = decodeURIComponent(location.hash.slice(1));
if (code) history.replaceState(null, "", location.pathname + location.search);
await outbox.start();
show();
link.connect({ code });
// Tests and curious people: what the page knows.
window.mobilescope = { state, link, lens, preview, outbox };
