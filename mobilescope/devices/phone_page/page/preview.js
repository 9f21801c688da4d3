// The camera's picture on its way to the computer: H.264 where the browser encodes it, else JPEG, never a queue.

const H264 = 1, JPEG = 2;
const MOST_ON_THE_WAY = 4, MOST_WAITING_BYTES = 1 << 20, KEY_EVERY = 60, BITS_PER_S = 8e6;
const CODECS = ["avc1.42E01F", "avc1.42001f", "avc1.42E028", "avc1.4D0028"];

async function supported(width, height, fps) {
  if (!("VideoEncoder" in window) || !("VideoFrame" in window)) return null;
  for (const codec of CODECS) {
    const config = {
      codec, width, height, bitrate: BITS_PER_S, framerate: fps, latencyMode: "realtime", avc: { format: "annexb" },
    };
    try {
      if ((await VideoEncoder.isConfigSupported(config)).supported) return config;
    } catch (error) { /* the next one */ }
  }
  return null;
}

export class Preview {
  constructor(video, link, { jpegOnly = false } = {}) {
    this.video = video;
    this.link = link;
    this.jpegOnly = jpegOnly;
    this.number = 0;
    this.begun = new Map();
    this.trips = [];
    this.sent = this.dropped = 0;
    this.paused = false;
    this.wantKey = true;
    this.busy = false;
    this.canvas = document.createElement("canvas");
    this.codec = "";
  }

  async start(fps) {
    this.stop();
    const run = (this.run = {});
    const { videoWidth: width, videoHeight: height } = this.video;
    const config = this.jpegOnly ? null : await supported(width & ~1, height & ~1, fps);
    if (run !== this.run) return;
    this.codec = config ? "H.264" : "JPEG";
    this.size = [width, height];
    if (config) this.openEncoder(config);
    const each = (now, metadata) => {
      if (run !== this.run) return;
      this.video.requestVideoFrameCallback(each);
      this.frame(metadata.captureTime ?? now);
    };
    if ("requestVideoFrameCallback" in this.video) this.video.requestVideoFrameCallback(each);
    else this.timer = setInterval(() => this.frame(performance.now()), 1000 / fps);
  }

  stop() {
    this.run = null;
    clearInterval(this.timer);
    if (this.encoder && this.encoder.state !== "closed") this.encoder.close();
    this.encoder = null;
    this.begun.clear();
    this.wantKey = true;
  }

  openEncoder(config) {
    this.encoder = new VideoEncoder({
      output: (chunk) => {
        const message = this.message(H264, chunk.type === "key", chunk.timestamp, config.width, config.height, chunk.byteLength);
        chunk.copyTo(new Uint8Array(message, 18));
        this.link.sendBytes(message);
      },
      error: () => {
        this.encoder = null;
        this.jpegOnly = true;
        this.codec = "JPEG";
      },
    });
    this.encoder.configure(config);
    this.config = config;
  }

  frame(captured) {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (this.paused || !this.link.ready || !width) return;
    if (width !== this.size[0] || height !== this.size[1]) {
      this.resized?.();
      return;
    }
    const late = this.begun.size >= MOST_ON_THE_WAY || this.link.backlog > MOST_WAITING_BYTES;
    if (late || this.busy || (this.encoder?.encodeQueueSize ?? 0) > 1) {
      this.dropped += 1;
      this.forget();
      return;
    }
    const number = (this.number = (this.number + 1) % 2 ** 31);
    this.begun.set(number, { at: performance.now(), captured });
    if (this.encoder) {
      const frame = new VideoFrame(this.video, { timestamp: number });
      const keyFrame = this.wantKey || number % KEY_EVERY === 0;
      this.wantKey = false;
      this.encoder.encode(frame, { keyFrame });
      frame.close();
    } else {
      this.jpeg(number, width, height);
    }
    this.sent += 1;
  }

  jpeg(number, width, height) {
    this.busy = true;
    Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d", { alpha: false }).drawImage(this.video, 0, 0);
    this.canvas.toBlob(async (blob) => {
      try {
        const bytes = new Uint8Array(await blob.arrayBuffer());
        const message = this.message(JPEG, true, number, width, height, bytes.length);
        new Uint8Array(message, 18).set(bytes);
        this.link.sendBytes(message);
      } finally {
        this.busy = false;
      }
    }, "image/jpeg", 0.8);
  }

  message(kind, key, number, width, height, length) {
    const message = new ArrayBuffer(18 + length);
    const view = new DataView(message);
    view.setUint8(0, kind);
    view.setUint8(1, key ? 1 : 0);
    view.setUint32(2, number);
    view.setFloat64(6, this.begun.get(number)?.captured ?? performance.now());
    view.setUint16(14, width);
    view.setUint16(16, height);
    return message;
  }

  seen(number) {
    const begun = this.begun.get(number);
    if (!begun) return;
    this.begun.delete(number);
    this.trips.push(performance.now() - begun.at);
    if (this.trips.length > 120) this.trips.shift();
  }

  // A picture that was let go on its way is never confirmed: after two seconds it counts as gone.
  forget() {
    const now = performance.now();
    for (const [number, begun] of this.begun) {
      if (now - begun.at > 2000) {
        this.begun.delete(number);
        this.wantKey = true;
      }
    }
  }

  get roundTripMs() {
    const sorted = [...this.trips].sort((one, other) => one - other);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  }
}
