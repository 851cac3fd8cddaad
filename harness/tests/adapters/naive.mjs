// The dozen lines that most servers have: a plain loop that sends, a plain loop that closes and deletes. What a stream throws
// comes through. With `cap=cap`, a new subscriber of a full scope closes the oldest.
export class Naive {
  #subscribers = new Set();
  #cap;

  constructor({ cap } = {}) {
    if (cap !== undefined && cap < 1) throw new RangeError("a cap is at least 1");
    this.#cap = cap;
  }

  subscribe(stream, { channels, identity, scope } = {}) {
    const own = { stream, channels: channels && [...channels], identity, scope };
    if (scope !== undefined && this.#cap !== undefined) {
      const rivals = [...this.#subscribers].filter((other) => other.scope === scope);
      for (const oldest of rivals.slice(0, Math.max(0, rivals.length + 1 - this.#cap))) {
        oldest.stream.close();
        this.#subscribers.delete(oldest);
      }
    }
    this.#subscribers.add(own);
    return () => this.#subscribers.delete(own);
  }

  broadcast(channel, data) {
    for (const { stream, channels } of this.#subscribers) {
      if (!channels?.length || channels.includes(channel)) stream.send(data);
    }
  }

  close_by_identity(identity) {
    let closed = 0;
    for (const own of this.#subscribers) {
      if (own.identity !== identity && own.scope !== identity) continue;
      own.stream.close();
      this.#subscribers.delete(own);
      closed++;
    }
    return closed;
  }

  get size() { return this.#subscribers.size; }
  count() { return this.#subscribers.size; }
}
