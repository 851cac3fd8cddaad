// Drives any class of any module for `registry-conform`:  node drive-module.mjs MODULE [CLASS] [KEY=VALUE ...]
//
// `adapter.mjs` is the same for one registry that is known, and the one to read first. Here are added: how the class is
// called, which the words of the command line say (`port.mjs`); and what promises take (`threads.mjs`).
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import { Threads, drive } from "./threads.mjs";
import * as port from "./port.mjs";

const OPERATIONS = ["sub", "unsub", "cast", "revoke", "count", "begin", "admit", "abandon", "shutdown", "settle", "par", "hold", "release"];

/** One script on a fresh registry. Its routines are generators; read `yield` as `await`. */
class Run extends Threads {
  calls = {}; registries = {}; streams = {}; subs = {}; tickets = {};

  constructor({ id, script, fuel, patience_ms }) {
    super(patience_ms, id);
    Object.assign(this, { id, script, fuel });
  }

  registry(number = 0) { return this.registries[number] ??= port.construct(this.script.cap); }
  trace() { return { type: "trace", id: this.id, events: this.events }; }

  *whole() {
    try { this.registry(); } catch (error) { this.events.push({ e: "unbuilt", error: String(error) }); return this.trace(); }
    for (const op of this.script.steps) {
      yield* this.steps([op]);
      yield* this.quiet();
    }
    return this.need ? { type: "unsupported", id: this.id, need: this.need } : this.trace();
  }

  *steps(ops) {
    for (const op of ops) {
      if (!OPERATIONS.includes(op.op)) { this.need = `the operation ${op.op}`; continue; }
      if (op.op === "unsub" && !Object.hasOwn(this.subs, op.sub)) continue;
      if (["admit", "abandon"].includes(op.op) && !Object.hasOwn(this.tickets, op.ticket)) continue;
      this.log("call", { op: op.id });
      let end = "ret", done;
      try { done = yield* this[op.op](op, this.registry(op.registry)); }
      catch (error) { [end, done] = port.refuses(error, op.op) ? ["ret", { refused: true }] : ["err", { error: String(error) }]; }
      // A registry that waits for promises learns within the turn what has ended by now.
      if (port.promises) yield setImmediate();
      this.log(end, { op: op.id, ...done });
    }
  }

  *sub(op, registry) { return yield* this.subscribe(op, (...args) => registry.subscribe(...args)); }
  *admit(op) { return yield* this.subscribe(op, (...args) => this.tickets[op.ticket].admit(...args)); }
  *subscribe(op, call) {
    const channels = op.channels && [...op.channels];
    const stream = this.streams[op.sink] ??= port.stream(this.sink(op.sink, "send"), this.sink(op.sink, "close"));
    const handle = yield port.subscribe(call, stream, channels, op.groups ?? [], op.scope);
    if (op.overwrite !== undefined) channels?.fill(op.overwrite).push(op.overwrite);
    if (!handle) return { refused: true };
    this.subs[op.sub] = handle;
  }
  *unsub(op) { yield port.unsubscribe(this.subs[op.sub]); }
  *cast(op, registry) { yield port.publish(registry, op); }
  *revoke(op, registry) { return { n: port.number("close_by_identity", yield port.revoke(registry, op.identity, op.reason)) }; }
  *count(op, registry) { return { n: port.number("count", yield port.count(registry)) }; }
  *begin(op, registry) { this.tickets[op.ticket] = yield registry.begin(); }
  *abandon(op) { yield this.tickets[op.ticket].abandon(); }
  *shutdown(op, registry) { yield registry.shutdown(); }
  *settle() { for (let turn = 0; turn < port.turns; turn++) yield setImmediate(); }

  /** What the registry calls. If it waits for what a sink returns, the sink waits for what it calls in turn. */
  sink(number, on) {
    if (port.awaits) return async (what) => this.beside(this.called(number, on, what, true));
    return (what) => drive(this.called(number, on, what, false));
  }

  *called(sink, on, what, waits) {
    this.log(on, { sink, ...what });
    if (--this.fuel < 0) { this.log("fuel"); write(this.trace()); process.exit(0); }
    const nth = this.calls[on + sink] = (this.calls[on + sink] ?? 0) + 1;
    const rule = this.script.sinks?.[sink]?.rules.find((rule) => rule.on === on && rule.nth === nth);
    const inside = this.steps(rule?.do ?? []);
    if (waits) yield* inside;
    else this.beside(inside);
    const threw = rule?.then === "throw" || rule?.then === "fail";
    this.log(on === "send" ? "sent" : "closed", { sink, threw });
    if (threw) throw new Error("the script says so");
  }
}

/** One line, whole, before it returns; a pipe that is full says EAGAIN. */
function write(message) {
  let rest = Buffer.from(JSON.stringify(message) + "\n");
  while (rest.length > 0) {
    try { rest = rest.subarray(writeSync(1, rest)); } catch (error) { if (error.code !== "EAGAIN") throw error; }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.type === "hello") write(port.hello);
  if (request.type === "bye") break;
  if (request.type !== "run") continue;
  process.stdin.unref?.(); // so that Node ends, and says so, when calls wait for each other and nothing else is left
  write(await drive(new Run(request).whole()));
  process.stdin.ref?.();
}
process.exit(0);
