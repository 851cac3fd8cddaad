// Right registries, but for what never ends or grows without end.
import { SubscriberRegistry } from "../../adapters/javascript/registry.mjs";

const never = () => { for (;;); };

export class Subscribe extends SubscriberRegistry { subscribe() { never(); } }

export class Broadcast extends SubscriberRegistry {
  broadcast(channel, data) { super.broadcast(channel, data); never(); }
}

/** Waits for ever when a sink revokes. */
export class Nested extends SubscriberRegistry {
  #sending = 0;
  broadcast(channel, data) { this.#sending++; super.broadcast(channel, data); this.#sending--; }
  close_by_identity(identity) { return this.#sending ? never() : super.close_by_identity(identity); }
}

/** Takes more and more memory in one call. */
export class Grows extends SubscriberRegistry {
  broadcast() { for (const all = []; ;) all.push(Buffer.alloc(1 << 20, 1)); }
}

/** Keeps 4 MiB of each script in its process. */
export class Keeps extends SubscriberRegistry {
  static all = [];
  constructor(...options) { super(...options); Keeps.all.push(Buffer.alloc(4 << 20, 1)); }
}

/** Goes on counting whoever has left. */
export class Hoards extends SubscriberRegistry {
  #all = 0;
  subscribe(...given) { this.#all++; return super.subscribe(...given); }
  get count() { return this.#all; }
}

/** Says a lot when it fails. */
export class Verbose extends SubscriberRegistry {
  broadcast() { throw new Error("much ado ".repeat(20_000)); }
}
