// Registries that are broken in one way each, in two styles of call.

class Base {
  members = new Set();
  subscribe(stream, channels, identity) {
    const member = { stream, names: this.names(channels), identity };
    this.members.add(member);
    return () => this.members.delete(member);
  }
  names(channels) { return channels?.length ? new Set(channels) : null; }
  hears(member, channel) { return !member.names || member.names.has(channel); }
  broadcast(channel, data) {
    for (const member of [...this.members]) {
      if (!this.members.has(member) || !this.hears(member, channel)) continue;
      member.sending = true;
      let failed = false;
      try { member.stream.send(data); } catch { failed = true; }
      member.sending = false;
      if (member.pending || (failed && this.members.has(member))) this.close(member);
    }
  }
  close_by_identity(identity) {
    const found = [...this.members].filter((member) => identity !== undefined && member.identity === identity);
    for (const member of found) this.members.delete(member);
    for (const member of found) this.close(member);
    return found.length;
  }
  close(member) {
    this.members.delete(member);
    if (member.sending) { member.pending = true; return; }
    try { member.stream.close(); } catch { /* nobody else's concern */ }
  }
}

/** Revokes without telling. */
export class Deaf extends Base {
  close_by_identity(identity) {
    const found = [...this.members].filter((member) => identity !== undefined && member.identity === identity);
    for (const member of found) this.members.delete(member);
    return found.length;
  }
}

/** Closes and goes on sending. */
export class Sticky extends Base {
  close_by_identity(identity) {
    const found = [...this.members].filter((member) => !member.gone && identity !== undefined && member.identity === identity);
    for (const member of found) member.gone = true;
    for (const member of found) try { member.stream.close(); } catch { /* nobody else's concern */ }
    return found.length;
  }
}

/** Spins for ever when it revokes from inside a send. */
export class Spins extends Base {
  close_by_identity(identity) {
    for (const member of this.members) while (member.sending);
    return super.close_by_identity(identity);
  }
}

/** Loses one delivery in the life of its process. */
export class Lapse extends Base {
  static heard = 0;
  hears(member, channel) { return super.hears(member, channel) && ++Lapse.heard !== 60; }
}

/** Says a number below zero when nobody was revoked. */
export class Negative extends Base {
  close_by_identity(identity) { return super.close_by_identity(identity) || -1; }
}

/** Keeps the caller's list. */
export class Aliased extends Base {
  names(channels) { return channels?.length ? { has: (name) => channels.includes(name) } : null; }
}

/** Uses a plain object as a set. */
export class Plain extends Base {
  names(channels) {
    if (!channels?.length) return null;
    const set = Object.fromEntries(channels.map((name) => [name, 1]));
    return { has: (name) => name in set };
  }
}

/** Refuses whoever holds an identity that another registry of the process has revoked. */
export class Shared extends Base {
  static revoked = new Map();
  subscribe(stream, channels, identity) {
    const by = Shared.revoked.get(identity);
    if (by && by !== this) throw new Error("revoked");
    return super.subscribe(stream, channels, identity);
  }
  close_by_identity(identity) {
    Shared.revoked.set(identity, this);
    return super.close_by_identity(identity);
  }
}
