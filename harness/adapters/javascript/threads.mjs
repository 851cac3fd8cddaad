// Registries that return promises. One that does not needs none of this: `adapter.mjs` is the plain form.
//
// A routine is a generator, and its `yield` an `await` that takes no time when there is no promise to wait for. So one
// text drives a registry that returns at once, on one stack, and one that goes on in later turns of the event loop.
// @ts-check
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout } from "node:timers/promises";

/** Which thread the running code belongs to; promises remember it. @type {AsyncLocalStorage<{ lane: number }>} */
const here = new AsyncLocalStorage();
const thread = () => here.getStore()?.lane ?? 0;

/** Runs a routine to its end, or to its first promise: then it returns a promise of its end.
 *  @param {Generator<any, any, any>} routine @param {"next" | "throw"} how @returns {any} */
export function drive(routine, how = "next", what = undefined) {
  for (;;) {
    const { done, value } = routine[how](what);
    if (done) return value;
    if (value?.then) return value.then((it) => drive(routine, "next", it), (error) => drive(routine, "throw", error));
    [how, what] = ["next", value];
  }
}

/** The events, tasks and gates of one script. */
export class Threads {
  events = []; #tasks = new Set(); #gates = {}; #next = 100;
  constructor(patience, seed) { this.patience = patience; this.seed = seed; }
  log(e, what) { this.events.push({ e, lane: thread(), ...what }); }

  /** Runs a routine of a sink. If it takes time, the registry goes on beside it: it is a task, with its own thread. */
  beside(routine) {
    const outer = thread(), own = { lane: outer }, from = this.events.length;
    const task = here.run(own, drive, routine);
    if (!task?.then) return task;
    own.lane = this.#next++;
    for (const event of this.events.slice(from)) if (event.lane === outer) event.lane = own.lane;
    const ended = () => this.#tasks.delete(task);
    this.#tasks.add(task);
    task.then(ended, ended);
    return task;
  }

  /** Lets others go first, by chance: so a race is found that a registry has between two of its turns. */
  *#lane(ops) {
    for (const op of ops) {
      for (let turns = this.#chance(4); turns > 0; turns--) yield Promise.resolve();
      yield* this.steps([op]);
    }
  }
  #chance(below) {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0;
    return (this.seed >>> 16) % below;
  }

  *quiet() { while (this.#tasks.size) yield Promise.allSettled(this.#tasks); }
  *par(op) {
    const run = (ops, index) => here.run({ lane: index + 1 }, drive, this.#lane(ops));
    yield* this.#wait(op, Promise.all(op.lanes.map(run)));
  }
  *hold(op) { yield* this.#wait(op, this.#gate(op.gate).opened); }
  *release(op) { this.#gate(op.gate).open(); }

  #gate(number) {
    let open;
    return this.#gates[number] ??= { opened: new Promise((resolve) => { open = resolve; }), open };
  }

  *#wait(op, what) {
    const { patience } = this;
    if ((yield Promise.race([what, setTimeout(patience, "late")])) !== "late") return;
    this.log("stuck", { op: op.id });
    this.patience = 0;
    for (const gate of Object.values(this.#gates)) gate.open();
    yield Promise.race([what, setTimeout(patience)]);
  }
}
