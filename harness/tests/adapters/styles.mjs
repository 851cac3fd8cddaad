// One right registry under the many signatures that right registries have, and two that are wrong in what they return.
console.log("Welcome"); // what a module prints is none of the protocol's business

class Table {
  #members = new Set();
  #queue = [];
  #delivering = false;

  add(stream, channels, identities) {
    const member = { stream, names: channels?.length ? new Set(channels) : null, identities: new Set(identities), active: true };
    this.#members.add(member);
    return () => this.#take(member);
  }
  cast(channel, data) {
    const hears = ({ names }) => !names || names.has(channel);
    this.#queue.push({ data, members: [...this.#members].filter(hears) });
    if (this.#delivering) return;
    this.#delivering = true;
    for (let cast; (cast = this.#queue.shift()); ) for (const member of cast.members) this.#send(member, cast.data);
    this.#delivering = false;
  }
  #send(member, data) {
    if (!member.active) return;
    member.sending = true;
    let failed = false;
    try { member.stream.send(data); } catch { failed = true; }
    member.sending = false;
    if (member.pending || (failed && member.active)) this.#end(member);
  }
  revoke(identity) {
    const found = [...this.#members].filter(({ identities }) => identities.has(identity));
    for (const member of found) this.#take(member);
    for (const member of found) this.#end(member);
    return found.length;
  }
  #take(member) { member.active = false; this.#members.delete(member); }
  #end(member) {
    this.#take(member);
    member.pending = member.sending;
    if (member.sending) return;
    try { member.stream.close(); } catch { /* nobody else's concern */ }
  }
}

class Base {
  table = new Table();
  broadcast(channel, data) { console.log("a broadcast on", channel); this.table.cast(channel, data); }
  close_by_identity(identity) { return this.table.revoke(identity); }
}
const some = (...names) => names.filter((name) => name !== undefined && name !== null);

/** Its `subscribe` does not say what it reads. */
export class Helper extends Base {
  subscribe(stream, options) { return this.register(stream, options); }
  register(stream, options) { return this.table.add(stream, options.channels, some(options.identity)); }
}
export class Listed extends Base {
  subscribe(stream, options = {}) { return this.table.add(stream, options.channels, options.identities ?? []); }
}
export class Grouped extends Base {
  subscribe(stream, { channels, groups = [] } = {}) { return this.table.add(stream, channels, groups); }
}
export class Defaults extends Base {
  subscribe(s, c = null, i = null) { return this.table.add(s, c, some(i)); }
}
export class Rest extends Base {
  subscribe(...args) { return this.table.add(args[0], args[1], some(args[2])); }
}
/** Its option is one that nobody would guess. */
export class Odd extends Base {
  subscribe(stream, { channels, badge }) { return this.table.add(stream, channels, some(badge)); }
}
/** Its methods are fields, so that its prototype has none; and its handles are objects. */
export class Arrows {
  #table = new Table();
  subscribe = (stream, channels, identity) => ({ unsubscribe: this.#table.add(stream, channels, some(identity)) });
  broadcast = (channel, data) => this.#table.cast(channel, data);
  closeByIdentity = (identity) => this.#table.revoke(identity);
}
/** Is offended by whatever it does not expect. */
export class Strict extends Base {
  subscribe(stream, options) {
    if (Array.isArray(options)) throw new TypeError("options is no object");
    for (const key of Object.keys(options)) if (!["channels", "identity"].includes(key)) throw new TypeError(`what is ${key}?`);
    return this.table.add(stream, options.channels, some(options.identity));
  }
}

/** Does not say how many. */
export class Mute extends Base {
  subscribe(stream, options) { return this.table.add(stream, options.channels, some(options.identity)); }
  close_by_identity(identity) { this.table.revoke(identity); }
}
/** Says whom, and not how many. */
export class Names extends Base {
  subscribe(stream, channels, identity) { return this.table.add(stream, channels, some(identity)); }
  close_by_identity(identity) { return Array(this.table.revoke(identity)).fill(identity); }
}
