// Finds out by trying how a class wants to be called, and whether it waits for its sinks.
import { setImmediate } from "node:timers/promises";

/** The first of the ways to subscribe that does all that it should, or else the one that does most. */
export async function probe(styles, port) {
  const found = { style: styles[0], awaits: { send: false, close: false }, promises: false, doubt: "" };
  let most = -1;
  for (const [index, style] of styles.entries()) {
    const points = await exercise(style, index, port, found);
    if (points > most) [most, found.style] = [points, style];
    if (points === 5) return found;
  }
  found.doubt = `no way to subscribe did all that it should; taken: ${found.style.name}`;
  return found;
}

/** Subscribes, broadcasts and revokes on a fresh registry, and says how much of it worked, from 0 to 5. */
async function exercise(style, index, { construct, revoke, stream }, found) {
  // No script uses these names, and no other way either: a class may keep what it knows in static state.
  const channel = `probed channel ${index}`, identity = `probed identity ${index}`;
  const identities = style.several ? [`another ${identity}`, identity] : [identity];
  const calls = { send: 0, close: 0 };
  const called = (on) => () => { calls[on] += 1; return watched(found.awaits, on); };
  const sink = stream(called("send"), called("close"));

  const registry = await attempt(construct, found);
  await attempt(() => registry.subscribe(sink, ...style.arguments([channel], identities)), found);
  await attempt(() => registry.broadcast(`another ${channel}`, "m"), found);
  const astray = calls.send;
  await attempt(() => registry.broadcast(channel, "m"), found);
  const heard = calls.send > astray;
  const ended = await attempt(() => revoke(registry, identity), found);
  return Number(heard) + Number(heard && astray === 0) + 2 * Number(ended === 1) + Number(calls.close > 0);
}

/** What a call returns or promises; one that throws, or does not end within a second, came to nothing. */
async function attempt(call, found) {
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, 1_000); });
  try {
    const result = call();
    if (typeof result?.then === "function") found.promises = true;
    return await Promise.race([result, late]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    for (let turn = 0; turn < 5; turn++) await setImmediate(); // for what it began and did not wait for
  }
}

/** A promise that tells whether somebody waits for it. */
function watched(awaits, on) {
  class Watched extends Promise {
    then(...args) { awaits[on] = true; return super.then(...args); }
  }
  return Watched.resolve();
}
