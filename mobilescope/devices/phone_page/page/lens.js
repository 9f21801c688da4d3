// The phone's camera: opened, held still in every setting that it offers, and read back after each change.

const RAISE_MS = 3000, TOLD_MS = 500, MOST_TRIES = 3;

// wish: key of what the computer asks; per: the browser's unit in ours (its exposure counts 100 µs).
const SETTINGS = [
  { key: "exposure", wish: "exposure_ms", title: "Exposure", value: "exposureTime", mode: "exposureMode", per: 0.1, unit: "ms" },
  { key: "iso", wish: "iso", title: "ISO", value: "iso", mode: "exposureMode", per: 1, unit: "" },
  { key: "white balance", wish: "white_balance_k", title: "White balance", value: "colorTemperature", mode: "whiteBalanceMode", per: 1, unit: "K" },
  { key: "focus", wish: "focus", title: "Focus", value: "focusDistance", mode: "focusMode", per: 1, unit: "" },
  { key: "zoom", wish: "zoom", title: "Zoom", value: "zoom", mode: null, per: 1, unit: "×" },
];

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const round = (value) => String(Math.round(value * 1000) / 1000);

async function sizeOf(blob) {
  const picture = await createImageBitmap(blob);
  const { width, height } = picture;
  picture.close();
  return { width, height };
}

function words(setting, value) {
  return value === undefined ? "" : `${round(value * setting.per)} ${setting.unit}`.trim();
}

export class Lens {
  // changed(): the settings or the size of the picture are not what they were
  constructor(video, preview, changed) {
    this.video = video;
    this.want = preview;
    this.changed = changed;
    this.held = {};
    this.reports = [];
    this.plan = null;
    this.work = Promise.resolve();
    // Resolved when the video is back at the preview's size after a still; the still itself does not wait for that.
    this.lowered = Promise.resolve();
  }

  async open({ wishes, settleMs }, ended) {
    this.close();
    const { width, height, fps } = this.want;
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: {
        facingMode: { ideal: "environment" }, width: { ideal: width }, height: { ideal: height },
        frameRate: { ideal: fps },
      },
    });
    this.stream = stream;
    this.track = stream.getVideoTracks()[0];
    this.track.onended = () => ended("the camera was taken away by the system or another app");
    this.video.srcObject = stream;
    await this.video.play();
    this.imageCapture = "ImageCapture" in window ? new ImageCapture(this.track) : null;
    this.caps = this.track.getCapabilities?.() ?? {};
    this.held = {};
    await wait(settleMs);
    await this.planStills();
    await this.lowered;
    await this.lockAll(wishes);
    clearInterval(this.timer);
    this.timer = setInterval(() => this.verify(), 1000);
  }

  close() {
    clearInterval(this.timer);
    if (this.track) this.track.onended = null;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.track = null;
  }

  // Settings.

  offered(setting) {
    const { caps } = this;
    const mode = setting.mode === null || (caps[setting.mode] ?? []).includes("manual");
    const range = caps[setting.value];
    return mode && range !== undefined && range.max > range.min;
  }

  size(raised) {
    const { width, height, fps } = this.want;
    return raised
      ? { width: { ideal: this.caps.width.max }, height: { ideal: this.caps.height.max } }
      : { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: fps } };
  }

  // Each call replaces what was asked before, so everything is asked again. One set holds all the settings: some
  // browsers read the first one alone. Chromium leaves the size alone where settings come with it: it goes first.
  async apply({ raised = false, resize = false } = {}) {
    const size = this.size(raised);
    const settings = Object.keys(this.held).length ? { ...size, advanced: [this.held] } : null;
    if (resize || !settings) await this.track.applyConstraints(size);
    if (settings) await this.track.applyConstraints(settings);
  }

  async lockAll(wishes) {
    this.reports = [];
    for (const setting of SETTINGS) this.reports.push(await this.lock(setting, wishes[setting.wish]));
    this.readAll();
  }

  async lock(setting, wish) {
    const report = { name: setting.key, state: "not offered", wanted: "", got: "" };
    const now = this.track.getSettings();
    if (!this.offered(setting)) {
      report.got = words(setting, now[setting.value]);
      if (wish != null) report.wanted = words(setting, wish / setting.per);
      return report;
    }
    const { min, max, step } = this.caps[setting.value];
    let value = wish == null ? now[setting.value] ?? (min + max) / 2 : wish / setting.per;
    report.wanted = words(setting, value);
    if (value < min - 1e-9 || value > max + 1e-9) {
      report.state = "refused";
      report.got = `offers ${round(min * setting.per)} to ${words(setting, max)}`;
      return report;
    }
    if (step > 0) value = Math.min(max, min + step * Math.round((value - min) / step));
    const before = this.held;
    this.held = { ...this.held, [setting.value]: value };
    if (setting.mode) this.held[setting.mode] = "manual";
    try {
      await this.apply();
    } catch (error) {
      this.held = before;
      report.state = "refused";
      report.got = words(setting, this.track.getSettings()[setting.value]);
      await this.apply().catch(() => {});
      return report;
    }
    return this.read(setting, report);
  }

  // A setting counts as locked only where the camera itself says so: some ignore what they are told in silence.
  read(setting, report) {
    const now = this.track.getSettings();
    const held = this.held[setting.value];
    const step = this.caps[setting.value].step || 0;
    const close = Math.abs((now[setting.value] ?? NaN) - held) <= Math.max(0.51 * step, 0.01 * Math.abs(held), 1e-6);
    const manual = !setting.mode || now[setting.mode] === "manual";
    return { ...report, state: close && manual ? "locked" : "refused", got: words(setting, now[setting.value]) };
  }

  readAll() {
    this.reports = this.reports.map((report) => {
      const setting = SETTINGS.find((each) => each.key === report.name);
      return this.held[setting.value] === undefined ? report : this.read(setting, report);
    });
  }

  async set(key, wish) {
    const setting = SETTINGS.find((each) => each.key === key);
    await this.alone(async () => {
      const report = await this.lock(setting, wish);
      this.reports = this.reports.map((each) => (each.name === key ? report : each));
      this.readAll();
    });
    this.changed();
  }

  // Once a second: what has slipped is set again once, and told.
  async verify() {
    if (!this.track || this.verifying) return;
    this.verifying = true;
    try {
      const before = JSON.stringify(this.reports);
      this.readAll();
      const slipped = this.reports.some((report) => report.state === "refused" && this.holds(report.name));
      if (slipped && before !== JSON.stringify(this.reports)) {
        await this.alone(() => this.apply().catch(() => {}));
        this.readAll();
      }
      if (before !== JSON.stringify(this.reports)) this.changed();
    } finally {
      this.verifying = false;
    }
  }

  holds(key) { return this.held[SETTINGS.find((each) => each.key === key).value] !== undefined; }

  rows() {
    return SETTINGS.map((setting) => ({
      ...this.reports.find((report) => report.name === setting.key), title: setting.title, per: setting.per,
      unit: setting.unit, range: this.caps && this.offered(setting) ? this.caps[setting.value] : null,
      now: this.held[setting.value],
    }));
  }

  // Stills.

  // Finds by trying which way gives the most pixels: what a camera promises is not always what it gives.
  async planStills() {
    this.plan = { raised: false, photo: Boolean(this.imageCapture), width: 0, height: 0 };
    if (this.imageCapture) {
      const offers = await this.imageCapture.getPhotoCapabilities().catch(() => null);
      this.photoSettings = {};
      if (offers?.imageWidth?.max) {
        this.photoSettings = { imageWidth: offers.imageWidth.max, imageHeight: offers.imageHeight.max };
        if (offers.fillLightMode?.includes?.("off")) this.photoSettings.fillLightMode = "off";
      }
    }
    await this.measure();
    const most = (this.caps.width?.max ?? 0) * (this.caps.height?.max ?? 0);
    if (most > 1.05 * this.plan.width * this.plan.height) {
      const plain = this.plan;
      this.plan = { ...plain, raised: true };
      try {
        await this.measure();
      } catch (error) {
        this.plan.width = 0;
      }
      if (this.plan.width * this.plan.height <= 1.05 * plain.width * plain.height) this.plan = plain;
    }
  }

  async measure() {
    Object.assign(this.plan, await sizeOf(await this.take()));
  }

  get method() {
    return (this.plan?.photo ? "ImageCapture" : "canvas") + (this.plan?.raised ? ", resolution raised" : "");
  }

  // Only one thing at a time changes the camera.
  alone(work) {
    const result = this.work.then(work);
    this.work = result.catch(() => {});
    return result;
  }

  still() { return this.alone(() => this.take()); }

  async take() {
    if (!this.plan.raised) return this.grab();
    // A video that is still large from the still before would pass for raised, while the camera is on its way down.
    await this.lowered;
    this.raising?.(true);
    try {
      const before = this.video.videoWidth;
      await this.apply({ raised: true, resize: true });
      await this.raised(before);
      return await this.whole();
    } finally {
      await this.apply({ resize: true }).catch(() => {});
      const { width } = this.track.getSettings();
      const until = performance.now() + RAISE_MS;
      const back = async () => {
        while (this.video.videoWidth !== width && performance.now() < until) await wait(10);
        this.raising?.(false);
      };
      this.lowered = back();
    }
  }

  // What the track says of itself may lag behind what it was told, and the video lags behind that.
  async raised(before) {
    const [told, until] = [performance.now() + TOLD_MS, performance.now() + RAISE_MS];
    while (this.track.getSettings().width === before && performance.now() < told) await wait(10);
    const wanted = this.track.getSettings().width;
    while (this.video.videoWidth !== wanted && performance.now() < until) await wait(10);
  }

  // A picture that was taken a moment too early has the preview's size.
  async whole() {
    for (let tries = 1; ; tries += 1) {
      const blob = await this.grab();
      const { width, height } = await sizeOf(blob);
      if (tries === MOST_TRIES || width * height >= this.plan.width * this.plan.height) return blob;
      await wait(100);
    }
  }

  async grab() {
    if (this.plan.photo) {
      try {
        return await this.imageCapture.takePhoto(this.photoSettings);
      } catch (error) {
        // Some cameras refuse their own greatest size.
        if (!Object.keys(this.photoSettings).length) this.plan.photo = false;
        this.photoSettings = {};
        return this.grab();
      }
    }
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    canvas.getContext("2d", { alpha: false }).drawImage(this.video, 0, 0);
    return new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is empty"))), "image/jpeg", 0.97);
    });
  }
}
