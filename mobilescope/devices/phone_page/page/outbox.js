// Stills wait here, on the phone's own storage, until the computer says that they are safe. Where that storage keeps
// nothing (a private window, no room), they wait in the page's memory, and the person is told to leave it open.

const STORE = "stills";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("mobilescope", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "digest" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function sha256(buffer) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  // secret(): what the computer knows this phone by; on: {waiting(count), saved(answer), trouble(text)}
  constructor(secret, on) {
    this.secret = secret;
    this.on = on;
    this.memory = new Map();
    // Stills that the computer has, and that the storage would not let go.
    this.done = new Set();
    // What the last still took from the camera to the computer's disk, for whoever measures.
    this.begun = new Map();
    this.lastMs = null;
    this.sending = null;
    this.delayMs = 500;
  }

  async start() {
    try {
      this.db = await open();
      navigator.storage?.persist?.();
    } catch (error) {
      this.on.trouble("This browser keeps nothing: a still that is not sent is lost when the page is closed.");
    }
    await this.tell();
  }

  async add(blob, header) {
    const begun = performance.now();
    const buffer = await blob.arrayBuffer();
    const digest = await sha256(buffer);
    // A camera may give the same picture twice: each request keeps one of its own, so that each is answered.
    const key = header.request ? `${digest} ${header.request}` : digest;
    const entry = { digest: key, header, buffer, at: Date.now() };
    this.begun.set(entry.digest, begun);
    await this.keep(entry);
    await this.tell();
    this.flush();
    return digest;
  }

  async keep(entry) {
    try {
      if (this.db) {
        await this.change((store) => store.put(entry));
        return;
      }
    } catch (error) {
      this.on.trouble(`The phone keeps no more stills (${error?.name ?? "no reason"}): leave this page open until all are saved.`);
    }
    this.memory.set(entry.digest, entry);
  }

  async requests() {
    return new Set((await this.all()).map((entry) => entry.header.request).filter(Boolean));
  }

  flush() {
    clearTimeout(this.timer);
    this.sending ??= this.sendAll().finally(() => { this.sending = null; });
    return this.sending;
  }

  async sendAll() {
    for (let entry = await this.next(); entry; entry = await this.next()) {
      let answer;
      try {
        answer = await this.send(entry);
      } catch (error) {
        this.again(this.memory.size
          ? "No connection: leave this page open, it alone keeps the stills until it is back."
          : "No connection: the stills stay on the phone until it is back.");
        return;
      }
      const said = await answer.json().catch(() => ({}));
      if (answer.ok) {
        await this.remove(entry.digest);
        this.delayMs = 500;
        this.lastMs = performance.now() - (this.begun.get(entry.digest) ?? NaN);
        this.begun.delete(entry.digest);
        this.on.saved({ ...said, request: entry.header.request });
      } else if (answer.status === 413 || (answer.status === 422 && !/damaged/.test(said.reason ?? ""))) {
        await this.remove(entry.digest);
        this.on.trouble(`Not taken: ${said.reason ?? answer.status}`);
      } else {
        this.again(answer.status === 401 ? "Pair this phone again: its stills wait here." : said.reason ?? `error ${answer.status}`);
        return;
      }
      await this.tell();
    }
  }

  send(entry) {
    const header = new TextEncoder().encode(JSON.stringify(entry.header));
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, header.length);
    return fetch(`/stills/${entry.digest.slice(0, 64)}`, {
      method: "PUT",
      headers: { Authorization: `Bearer ${this.secret()}`, "Content-Type": "application/octet-stream" },
      body: new Blob([length, header, entry.buffer]),
    });
  }

  again(text) {
    this.on.trouble(text);
    this.timer = setTimeout(() => this.flush(), this.delayMs);
    this.delayMs = Math.min(10000, 2 * this.delayMs);
  }

  async next() { return (await this.all())[0]; }

  async all() {
    const found = [...(this.db ? await this.stored() : []), ...this.memory.values()];
    return found.filter((entry) => !this.done.has(entry.digest)).sort((one, other) => one.at - other.at);
  }

  async stored() {
    try {
      const store = this.db.transaction(STORE).objectStore(STORE);
      return await new Promise((resolve, reject) => {
        const request = store.getAll();
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    } catch (error) {
      this.db = null;
      this.on.trouble("The stills that wait on the phone can't be read. Load this page again.");
      return [];
    }
  }

  async remove(digest) {
    this.memory.delete(digest);
    try {
      if (this.db) await this.change((store) => store.delete(digest));
    } catch (error) {
      this.done.add(digest);
    }
  }

  change(work) {
    return new Promise((resolve, reject) => {
      const transaction = this.db.transaction(STORE, "readwrite", { durability: "strict" });
      work(transaction.objectStore(STORE));
      transaction.oncomplete = resolve;
      transaction.onerror = () => reject(transaction.error);
      transaction.onabort = () => reject(transaction.error);
    });
  }

  async tell() { this.on.waiting((await this.all()).length); }
}
