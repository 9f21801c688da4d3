// The connection to the computer: it comes back by itself, and says why where it may not.

export const PROTOCOL = 1;
const SECRET = "mobilescope-secret";
const FINAL = new Set([4401, 4403, 4409, 4426]);

function phoneName() {
  const brand = navigator.userAgentData?.platform;
  const agent = navigator.userAgent;
  const android = /Android[^;]*; ([^;)]+)/.exec(agent);
  if (android && android[1].trim() !== "K") return android[1].trim().slice(0, 40);
  if (/iPhone/.test(agent)) return "iPhone";
  if (/iPad/.test(agent)) return "iPad";
  return brand ? `${brand} browser` : "browser";
}

export class Link {
  // on: {state(name, reason), message(object), picture(header, blob)}
  constructor(on) {
    this.on = on;
    this.name = phoneName();
    this.code = "";
    this.delayMs = 250;
    this.socket = null;
    this.ready = false;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.hurry();
    });
  }

  get secret() { return localStorage.getItem(SECRET) ?? ""; }

  connect({ code = this.code, takeOver = false } = {}) {
    this.code = code;
    clearTimeout(this.timer);
    if (this.socket && this.socket.readyState === WebSocket.OPEN && takeOver) {
      this.hello(true);
      return;
    }
    this.drop();
    if (!this.secret && !this.code) {
      this.on.state("unpaired", "");
      return;
    }
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/page`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => this.hello(takeOver);
    socket.onmessage = (event) => this.heard(event.data);
    socket.onclose = (event) => {
      if (socket === this.socket) this.closed(event);
    };
  }

  hello(takeOver) {
    const hello = { kind: "hello", protocol: PROTOCOL, name: this.name, take_over: takeOver };
    if (this.secret) hello.secret = this.secret;
    if (this.code) hello.token = this.code;
    this.socket.send(JSON.stringify(hello));
  }

  heard(data) {
    if (typeof data !== "string") {
      const length = new DataView(data).getUint16(0);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
      this.on.picture(header, new Blob([new Uint8Array(data, 2 + length)], { type: "image/jpeg" }));
      return;
    }
    const message = JSON.parse(data);
    if (message.kind === "clock") {
      this.send({ kind: "clock", id: message.id, phone_ms: performance.now(), wall_ms: Date.now() });
      return;
    }
    if (message.kind === "welcome") {
      if (message.secret) localStorage.setItem(SECRET, message.secret);
      this.code = "";
      this.delayMs = 250;
      this.ready = true;
      this.on.state("connected", message.name);
    } else if (message.kind === "occupied") {
      this.on.state("occupied", message.by);
    }
    this.on.message(message);
  }

  closed(event) {
    this.socket = null;
    this.ready = false;
    if (event.code === 4401) localStorage.removeItem(SECRET);
    if (FINAL.has(event.code)) {
      if (event.code === 4401) this.code = "";
      this.on.state({ 4401: "unpaired", 4409: "taken over" }[event.code] ?? "refused", event.reason);
      return;
    }
    this.on.state("lost", event.reason);
    this.timer = setTimeout(() => this.connect(), this.delayMs);
    this.delayMs = Math.min(4000, 2 * this.delayMs);
  }

  hurry() {
    if (!this.socket && this.timer) this.connect();
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    this.ready = false;
    if (socket) socket.close();
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  sendBytes(buffer) {
    if (this.ready && this.socket?.readyState === WebSocket.OPEN) this.socket.send(buffer);
  }

  get backlog() { return this.socket?.bufferedAmount ?? 0; }
}
