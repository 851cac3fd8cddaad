// An adapter that breaks the protocol in one way: node cheat.mjs MODE. Everything else it leaves to the honest one.
import { spawn, spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { createInterface } from "node:readline";

const mode = process.argv[2];
const file = (name) => new URL(`../../adapters/javascript/${name}`, import.meta.url).pathname;
const driven = mode === "claims" ? [file("registry.mjs"), "SubscriberRegistry", "identities=groups"] : []; // it knows threads
const honest = spawn("node", [file("adapter.mjs"), ...driven], { stdio: ["pipe", "pipe", "inherit"] });
const say = (line) => process.stdout.write(line + "\n");
let answers = 0;
let asked = 0;
if (mode === "mark") process.stdout.write("\ufeff");
if (mode === "chatty") for (let line = 1; line <= 50; line++) say(`loading ${line}`);
if (mode === "banner") say("Welcome to my registry!");
createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  if (request.type === "run") {
    if (mode === "declines") return say(JSON.stringify({ type: "unsupported", id: request.id, need: "everything" }));
    if (mode === "shy" && line.includes('"revoke"')) {
      return say(JSON.stringify({ type: "unsupported", id: request.id, need: "revocations" }));
    }
    if (mode === "mute") return;
    if (mode === "coy" && request.id === 4) {
      return say(JSON.stringify({ type: "unsupported", id: request.id, need: "patience" }));
    }
    if (mode === "tires" && ++asked === 20) process.exit(9);
    if (mode === "dozes" && ++asked === 20) return;
    if (mode === "idle") return say(JSON.stringify({ type: "trace", id: request.id, events: [] }));
    if (mode === "confesses") return say(JSON.stringify({ type: "adapter_error", id: request.id, message: "I am broken" }));
  }
  honest.stdin.write(line + "\n");
}).on("close", () => honest.stdin.end());
createInterface({ input: honest.stdout }).on("line", (line) => {
  answers += 1;
  if (answers === 3) {
    if (mode === "dies") { console.error("famous last words"); process.exit(7); }
    if (mode === "mumbles") { process.stderr.write(Buffer.from([0xff, 10])); console.error("famous last words"); process.exit(7); }
    if (mode === "hangs") return;
    if (mode === "floods") return spawnSync("yes", { stdio: ["ignore", "inherit", "inherit"] });
    if (mode === "closes") return closeSync(1);
    if (mode === "twice") say(line);
    if (mode === "garbles") return say('{"type":"trace","id":');
    if (mode === "renumbers") return say(line.replace(/"id":\d+/, '"id":999999'));
  }
  if (mode === "hushes") return say(line.replaceAll('"threw":true', '"threw":false'));
  say(mode === "claims" && answers === 1 ? line.replace('"profiles":[', '"profiles":["threads",') : line);
});
