// A small complete subscriber registry: channels, scopes under a cap, groups, admission tickets.
//
// Broadcasts are queued with the members that they found and delivered one after the other, so one made from inside a
// delivery follows the outer one. `ended` is the gate: it is looked at immediately before each hand-over.
// @ts-check

/** @typedef {{ send(data: unknown): void, close(reason: string): void }} Stream */
/** @typedef {{ channels?: string[], scope?: string, groups?: string[] }} Options */
/** @typedef {{ stream: Stream, names: Set<string> | null, scope: string | undefined, identities: Set<string>,
 *              ended: boolean, sending: boolean, pending: string | null }} Member */

export class SubscriberRegistry {
  /** @type {Set<Member>} */ #members = new Set();
  /** @type {{ data: unknown, members: Member[] }[]} */ #queue = [];
  /** @type {Set<{ revoked: Set<string> }>} */ #tickets = new Set();
  #delivering = false;
  #down = false;
  #cap;

  /** @param {{ cap?: number }} [options] `cap`: the most subscribers of one scope; the oldest is evicted */
  constructor({ cap = Infinity } = {}) {
    if (!(cap >= 1)) throw new RangeError("a cap is at least 1");
    this.#cap = cap;
  }

  get count() { return this.#members.size; }

  /**
   * An absent or empty list of channels means every channel.
   * @param {Stream} stream @param {Options} [options] @returns {() => void} unsubscribes
   */
  subscribe(stream, { channels = [], scope, groups = [] } = {}) {
    if (this.#down) throw new Error("the registry was shut down");
    const identities = new Set(scope === undefined ? groups : [scope, ...groups]);
    /** @type {Member} */
    const member = { stream, names: channels.length ? new Set(channels) : null, scope, identities, ended: false, sending: false, pending: null };
    const own = scope === undefined ? [] : [...this.#members].filter((other) => other.scope === scope);
    const victims = own.slice(0, Math.max(0, own.length + 1 - this.#cap));
    this.#members.add(member);
    this.#end(victims, "evicted");
    return () => { member.ended = true; this.#members.delete(member); };
  }

  /** @param {string} channel @param {unknown} data */
  broadcast(channel, data) { this.#publish(data, ({ names }) => !names || names.has(channel)); }

  /**
   * Sends to all that hold the identity, whatever they listen to.
   * @param {string} identity @param {string} _channel @param {unknown} data
   */
  sendTo(identity, _channel, data) { this.#publish(data, ({ identities }) => identities.has(identity)); }

  /** @param {unknown} data @param {(member: Member) => boolean} isFor */
  #publish(data, isFor) {
    this.#queue.push({ data, members: [...this.#members].filter(isFor) });
    if (this.#delivering) return;
    this.#delivering = true;
    for (let cast; (cast = this.#queue.shift()); ) for (const member of cast.members) this.#send(member, cast.data);
    this.#delivering = false;
  }

  /** Their clients come back and authenticate again. @param {string} identity @returns {number} how many it closed */
  close_by_identity(identity) { return this.close_by_identity_as(identity, "revoked"); }

  /**
   * Names the reason that clients are told, where they should not come back by themselves or have to renew first.
   * @param {string} identity @param {"revoked" | "logged_out" | "expired"} reason @returns {number} how many it closed
   */
  close_by_identity_as(identity, reason) {
    for (const ticket of this.#tickets) ticket.revoked.add(identity);
    return this.#end([...this.#members].filter(({ identities }) => identities.has(identity)), reason);
  }

  /** Opens a ticket; call it before the credential is read. */
  begin() {
    const ticket = { revoked: new Set() };
    this.#tickets.add(ticket);
    return {
      /** @param {Stream} stream @param {Options} [options] @returns {(() => void) | null} null: refused */
      admit: (stream, options = {}) => {
        if (!this.#tickets.delete(ticket)) return null;
        const named = [options.scope, ...(options.groups ?? [])];
        return named.some((identity) => ticket.revoked.has(identity)) ? null : this.subscribe(stream, options);
      },
      abandon: () => { this.#tickets.delete(ticket); },
    };
  }

  shutdown() {
    this.#down = true;
    this.#end([...this.#members], "shutdown");
  }

  /** @param {Member[]} members @param {string} reason */
  #end(members, reason) {
    for (const member of members) { member.ended = true; this.#members.delete(member); }
    for (const member of members) {
      if (member.sending) member.pending = reason; // its close waits for its send
      else this.#close(member, reason);
    }
    return members.length;
  }

  /** @param {Member} member @param {string} reason */
  #close(member, reason) {
    try { member.stream.close(reason); } catch { /* a failing close concerns nobody else */ }
  }

  /** @param {Member} member @param {unknown} data */
  #send(member, data) {
    if (member.ended) return;
    member.sending = true;
    let failed = false;
    try { member.stream.send(data); } catch { failed = true; }
    member.sending = false;
    if (member.pending) this.#close(member, member.pending);
    else if (failed && !member.ended) this.#end([member], "failed");
  }
}
