import { AsyncLocalStorage } from "node:async_hooks";

// Registries whose calls return promises: right ones in three styles, and one wrong in each of the ways that promises invite.

/** Waits for each sink in turn. */
export class OneByOne {
  members = new Set();
  queue = [];
  delivering = false;

  async subscribe(stream, channels, identity) {
    const member = { stream, names: channels?.length ? new Set(channels) : null, identity };
    this.members.add(member);
    return async () => { this.end([member]); };
  }
  async broadcast(channel, data) {
    const hears = ({ names }) => !names || names.has(channel);
    this.queue.push({ data, members: [...this.members].filter(hears) });
    if (this.delivering) return;
    this.delivering = true;
    for (let cast; (cast = this.queue.shift()); ) await this.deliver(cast);
    this.delivering = false;
  }
  async deliver({ data, members }) {
    for (const member of members) await this.send(member, data);
  }
  async send(member, data) {
    if (!member.ended) await this.hand(member, data);
  }
  async hand(member, data) {
    member.sending = true;
    let failed = false;
    try { await this.write(member, data); } catch { failed = true; }
    member.sending = false;
    if (member.pending) return this.tell(member);
    if (!failed || member.ended) return;
    this.end([member]);
    await this.tell(member);
  }
  write(member, data) { return member.stream.writeSSE({ data }); }
  async close_by_identity(identity) {
    const found = [...this.members].filter((member) => identity !== undefined && member.identity === identity);
    this.end(found);
    for (const member of found) {
      if (member.sending) member.pending = true; // its close waits for its send, and nobody waits for that
      else await this.tell(member);
    }
    return found.length;
  }
  end(members) {
    for (const member of members) { member.ended = true; this.members.delete(member); }
  }
  async tell(member) {
    try { await member.stream.close(); } catch { /* nobody else's concern */ }
  }
  async count() { return this.members.size; }
}

/** Starts all sends of a broadcast, then waits for all. */
export class AllAtOnce extends OneByOne {
  async deliver({ data, members }) { await Promise.all(members.map((member) => this.send(member, data))); }
}

/** Returns promises, and calls sinks that return none. */
export class PlainSinks extends OneByOne {
  write(member, data) { member.stream.send(data); }
  async tell(member) {
    try { member.stream.close(); } catch { /* nobody else's concern */ }
  }
}

/** A revocation waits for the sends to whom it revokes, but for those from inside of which it is made. */
export class WaitsForSends extends OneByOne {
  around = new AsyncLocalStorage();
  write(member, data) {
    member.sent = this.around.run([...(this.around.getStore() ?? []), member], () => super.write(member, data));
    return member.sent;
  }
  async close_by_identity(identity) {
    const mine = this.around.getStore() ?? [];
    const found = [...this.members].filter((member) => member.identity === identity && !mine.includes(member));
    const n = await super.close_by_identity(identity);
    for (const member of found) await member.sent?.catch(() => {});
    return n;
  }
}

/** Looks who has ended when a broadcast begins, and not again after each wait. */
export class LooksOnce extends OneByOne {
  async deliver({ data, members }) {
    for (const member of members.filter(({ ended }) => !ended)) await this.hand(member, data);
  }
}

/** Lets whoever comes during a broadcast hear the rest of it. */
export class LooksAgain extends OneByOne {
  async deliver({ data, members }) {
    const before = [...this.members];
    for (const member of members) await this.send(member, data);
    for (const member of this.members) if (!before.includes(member)) await this.send(member, data);
  }
}

/** A revocation waits for the send from inside of which it is made. */
export class WaitsForItself extends OneByOne {
  write(member, data) { return (member.sent = super.write(member, data)); }
  async close_by_identity(identity) {
    const found = [...this.members].filter((member) => member.identity === identity);
    const n = await super.close_by_identity(identity);
    for (const member of found) await member.sent?.catch(() => {});
    return n;
  }
}

/** One call at a time: a revocation waits until a stuck sink lets the broadcast go on. */
export class Locked extends OneByOne {
  last = Promise.resolve();
  async broadcast(channel, data) {
    if (this.delivering) return super.broadcast(channel, data);
    this.last = super.broadcast(channel, data);
    await this.last;
  }
  async close_by_identity(identity) {
    const n = await super.close_by_identity(identity);
    await this.last;
    return n;
  }
}

/** Does not care how the sends end that it begins. */
export class Careless extends OneByOne {
  async hand(member, data) { this.write(member, data).catch(() => {}); }
}

/** Goes on sending to whom it closed. */
export class Sticky extends OneByOne {
  end() {}
}
