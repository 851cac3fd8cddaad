// Drives a JavaScript registry for `registry-conform`:  node adapter.mjs [MODULE [CLASS] [KEY=VALUE ...]]
//
// This is the protocol; how the registry is called stands in `port.mjs`, what promises take in `lanes.mjs`.
// @ts-check
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import { Lanes, drive } from "./lanes.mjs";
import * as port from "./port.mjs";

const write = (message) => writeFileSync(1, JSON.stringify(message) + "\n");

/** One script on a fresh registry. */
class Run extends Lanes {
  calls = {}; registries = {}; streams = {}; subs = {}; tickets = {};

  constructor({ id, script, fuel, patience_ms }) {
    super(patience_ms);
    this.id = id; this.script = script; this.fuel = fuel;
  }

  registry(number = 0) { return this.registries[number] ??= port.construct(this.script.cap); }

  *whole() {
    try { this.registry(); } catch (error) { return [{ e: "unbuilt", error: String(error) }]; }
    for (const op of this.script.steps) {
      yield* this.steps([op]);
      yield* this.quiet();
    }
    return this.events;
  }

  *steps(ops) {
    for (const op of ops) {
      if (op.op === "unsub" && !this.subs[op.sub]) continue;
      if (["admit", "abandon"].includes(op.op) && !this.tickets[op.ticket]) continue;
      this.log("call", { op: op.id });
      let end = "ret", done;
      try { done = yield* this[op.op](op, this.registry(op.registry)); }
      catch (error) { [end, done] = ["err", { error: String(error) }]; }
      // A registry that waits for promises learns within the turn what has ended by now.
      if (port.promises || port.awaits.send) yield setImmediate();
      this.log(end, { op: op.id, ...done });
    }
  }

  *sub(op, registry) {
    const channels = op.channels && [...op.channels];
    const stream = this.streams[op.sink] ??= port.stream(this.sink(op.sink, "send"), this.sink(op.sink, "close"));
    const handle = yield port.subscribe(registry, stream, channels, op.scope, op.groups ?? []);
    if (op.overwrite !== undefined) channels?.fill(op.overwrite).push(op.overwrite);
    if (!handle) return { refused: true };
    this.subs[op.sub] = handle;
  }
  *unsub(op) { yield port.unsubscribe(this.subs[op.sub]); }
  *cast(op, registry) { yield registry.broadcast(op.channel, op.data); }
  *revoke(op, registry) { return { n: yield port.revoke(registry, op.identity) }; }
  *count(op, registry) { return { n: yield port.count(registry) }; }
  *begin(op, registry) { this.tickets[op.ticket] = yield registry.begin(); }
  *admit(op) { return yield* this.sub(op, this.tickets[op.ticket]); }
  *abandon(op) { yield this.tickets[op.ticket].abandon(); }
  *shutdown(op, registry) { yield registry.shutdown(); }
  *settle() { for (let turn = 0; turn < port.turns; turn++) yield setImmediate(); }

  /** What the registry calls. If it waits for what a sink returns, the sink waits for what it calls in turn. */
  sink(number, on) {
    if (port.awaits[on]) return async (what) => this.beside(this.called(number, on, what, true));
    return (what) => drive(this.called(number, on, what, false));
  }

  *called(sink, on, what, waits) {
    this.log(on, { sink, ...what });
    if (--this.fuel < 0) {
      this.log("fuel");
      write({ type: "trace", id: this.id, events: this.events });
      process.exit(0);
    }
    const nth = this.calls[on + sink] = (this.calls[on + sink] ?? 0) + 1;
    const rule = this.script.sinks?.[sink]?.rules.find((rule) => rule.on === on && rule.nth === nth);
    const inside = this.steps(rule?.do ?? []);
    if (waits) yield* inside;
    else this.beside(inside);
    const threw = (rule?.then ?? "ok") !== "ok";
    this.log(on === "send" ? "sent" : "closed", { sink, threw });
    if (threw) throw new Error("the script says so");
  }
}

process.on("unhandledRejection", (error) => console.error("nobody awaited:", error));
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.type === "hello") write(port.hello);
  if (request.type === "bye") break;
  if (request.type !== "run") continue;
  process.stdin.unref?.(); // so that Node ends, and says so, when calls wait for each other and nothing else is left
  write({ type: "trace", id: request.id, events: await drive(new Run(request).whole()) });
  process.stdin.ref?.();
}
process.exit(0);
