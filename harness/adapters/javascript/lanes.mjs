// Registries that return promises. One that does not needs nothing of this: read `yield` as nothing, `beside` as a call.
//
// A routine is a generator, and its `yield` an `await` that takes no time when there is no promise to wait for. So one
// text drives a registry that returns at once, on one stack, and one that goes on in later turns of the event loop.
// @ts-check
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout } from "node:timers/promises";

/** Which lane the running code belongs to; promises remember it. @type {AsyncLocalStorage<{ lane: number }>} */
const here = new AsyncLocalStorage();
export const lane = () => here.getStore()?.lane ?? 0;

/**
 * Runs a routine to its end, or to its first promise: then it returns a promise of its end.
 * @param {Generator<any, any, any>} routine @returns {any}
 */
export function drive(routine, go = () => routine.next()) {
  for (;;) {
    const { done, value } = go();
    if (done) return value;
    if (value?.then) {
      const failed = (error) => drive(routine, () => routine.throw(error));
      return value.then((result) => drive(routine, () => routine.next(result)), failed);
    }
    go = () => routine.next(value);
  }
}

/** The tasks and gates of one script. */
export class Lanes {
  #tasks = new Set();
  #gates = {};
  #next = 100;

  constructor(events, patience) { this.events = events; this.patience = patience; }

  /** Runs a routine of a sink. If it takes time, the registry goes on beside it: it is a task, with its own lane. */
  beside(routine) {
    const outer = lane(), own = { lane: outer }, from = this.events.length;
    const task = here.run(own, drive, routine);
    if (!task?.then) return task;
    own.lane = this.#next++;
    for (const event of this.events.slice(from)) if (event.lane === outer) event.lane = own.lane;
    this.#tasks.add(task);
    const ended = () => this.#tasks.delete(task);
    task.then(ended, ended);
    return task;
  }

  *quiet() { while (this.#tasks.size) yield Promise.allSettled(this.#tasks); }

  *par(op, steps) {
    const run = (ops, index) => here.run({ lane: index + 1 }, drive, steps(ops));
    yield* this.#wait(op, Promise.all(op.lanes.map(run)));
  }
  *hold(op) { yield* this.#wait(op, this.#gate(op.gate).opened); }
  *release(op) { this.#gate(op.gate).open(); }

  #gate(number) {
    const gate = {};
    gate.opened = new Promise((open) => { gate.open = open; });
    return this.#gates[number] ??= gate;
  }

  *#wait(op, what) {
    const { patience } = this;
    if ((yield Promise.race([what, setTimeout(patience, "late")])) !== "late") return;
    this.events.push({ e: "stuck", op: op.id });
    this.patience = 0;
    for (const gate of Object.values(this.#gates)) gate.open();
    yield Promise.race([what, setTimeout(patience)]);
  }
}
