// Starts and stops the demo for the checks. DEMO=<path> names a built one; otherwise cargo builds it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { DEMO } = process.env;
const running = new Set();

export async function startServer(...args) {
  const [command, ...first] = DEMO ? [resolve(DEMO)] : ["cargo", "run", "--quiet", "-p", "demo", "--"];
  const server = spawn(command, [...first, ...args], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  await once(server, "spawn");
  running.add(server);
  for await (const line of createInterface({ input: server.stdout })) {
    const url = /^listening on (http:\S+)$/.exec(line)?.[1];
    if (url) return { server, url };
  }
  throw new Error("the server did not start");
}

export async function stopServer(server) {
  running.delete(server);
  if (server.exitCode !== null) return server.exitCode;
  const exit = once(server, "exit");
  server.kill("SIGTERM");
  return (await exit)[0];
}

export async function stopAll() {
  for (const server of running) await stopServer(server);
}

/** Calls the API, with JSON if there is a body, and returns the answer's JSON. */
export async function call(method, url, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  return response.json();
}
