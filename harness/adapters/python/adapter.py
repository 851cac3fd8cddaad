"""Drives the registry of `registry.py` for `registry-conform`: python3 adapter.py"""

import json
import os
import sys
from collections import Counter, defaultdict
from contextlib import nullcontext

import registry
from registry import Refused, SubscriberRegistry
from threads import Threads, pause, pausing, pausing_reads

registry.threading = pausing

HELLO = {
    "type": "hello", "protocol": 1, "name": "registry.py", "language": "python",
    "profiles": ["core", "scope_cap", "admission", "threads"],
    "features": ["count", "groups", "kinds", "reasons", "revoke_as", "shutdown"], "policies": {"order": "total"},
}


class Run(Threads):
    """One script on a fresh registry. Without threads, the only thread is 0 and nothing here needs a lock."""

    def __init__(self, request):
        super().__init__(request["patience_ms"] / 1000)
        self.script, self.fuel, self.calls = request["script"], request["fuel"], Counter()
        self.trace = {"type": "trace", "id": request["id"], "events": self.events}
        self.need = None  # what an operation needs that is unknown here
        self.registries = defaultdict(lambda: SubscriberRegistry(self.script.get("cap")))  # made on first use
        self.sinks, self.subs, self.tickets = {}, {}, {}

    def whole(self):
        try:
            self.registries[0]
        except ValueError as error:
            self.events.append({"e": "unbuilt", "error": str(error)})
        else:
            self.steps(self.script["steps"])
        if self.need:
            write({"type": "unsupported", "id": self.trace["id"], "need": self.need})
        else:
            with self.shared:  # a thread that never came back may still log
                write(self.trace)

    def steps(self, ops):
        for op in ops:
            if op["op"] == "unsub" and op["sub"] not in self.subs:
                continue
            if op["op"] in ("admit", "abandon") and op["ticket"] not in self.tickets:
                continue
            self.log("call", op=op["id"])
            if op["op"] not in ("hold", "release"):
                pause()
            try:
                done = self.act(op) or {}
                self.log("ret", op=op["id"], **done)
            except Refused:
                self.log("ret", op=op["id"], refused=True)
            except Exception as error:
                self.log("err", op=op["id"], error=repr(error))

    def act(self, op):
        with self.shared:
            own = self.registries[op.get("registry", 0)]
        match op["op"]:
            case "sub": self.subscribe(op, own.subscribe)
            case "unsub": self.subs[op["sub"]]()
            case "cast": own.broadcast(op["channel"], op["data"])
            case "revoke" if "reason" in op:
                return {"n": number(own.close_by_identity_as(identity(op["identity"]), op["reason"]))}
            case "revoke": return {"n": number(own.close_by_identity(identity(op["identity"])))}
            case "count": return {"n": len(own)}
            case "begin": self.tickets[op["ticket"]] = own.begin()
            case "admit": self.subscribe(op, self.tickets[op["ticket"]].admit)
            case "abandon": self.tickets[op["ticket"]].abandon()
            case "shutdown": own.shutdown()
            case "settle": pass  # a broadcast delivers before it returns
            case "hold": self.wait(op, {op["gate"]})
            case "release": self.open(op["gate"])
            case "par":
                # In every eighth script, since it costs time.
                with pausing_reads(registry) if self.trace["id"] % 8 == 0 else nullcontext():
                    self.par(op)
            case other: self.need = f"the operation {other}"  # kept for the end: raised, it might go to the registry

    def subscribe(self, op, call):
        sink = self.sinks.setdefault(op["sink"], Sink(self, op["sink"]))  # the same object for the same number
        channels = list(op.get("channels", []))
        scope = identity(op["scope"]) if "scope" in op else None
        groups = [identity(group) for group in op.get("groups", [])]
        self.subs[op["sub"]] = call(sink, channels, scope, groups)
        if "overwrite" in op:
            channels[:] = [op["overwrite"]] * (len(channels) + 1)

    def called(self, number, on, after, **what):
        with self.shared:
            self.log(on, sink=number, **what)
            self.calls[number, on] += 1
            nth = self.calls[number, on]
            if self.calls.total() > self.fuel:
                self.log("fuel")
                write(self.trace)
                os._exit(0)
        pause()
        threw, sinks = False, self.script.get("sinks", [])
        for rule in sinks[number]["rules"] if number < len(sinks) else []:
            if rule["on"] == on and rule["nth"] == nth:
                self.steps(rule.get("do", []))  # from inside the registry's call: that is a test
                threw = rule.get("then", "ok") != "ok"
        self.log(after, sink=number, threw=threw)
        if threw:
            raise RuntimeError("the script says so")


class Sink:
    """What the registry calls."""

    def __init__(self, run, number):
        self.send = lambda data: run.called(number, "send", "sent", data=data)
        self.close = lambda reason: run.called(number, "close", "closed", reason=reason)


def number(value):
    """What is no number is an error of the registry's, and is told as one that it threw."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"{value!r} is no number of subscribers")


def identity(given):
    """A dict cannot be a key, so an identity with a kind is a pair."""
    return (given["kind"], given["value"]) if isinstance(given, dict) else given


def write(message):
    print(json.dumps(message), flush=True)


for line in sys.stdin:
    request = json.loads(line)
    match request["type"]:
        case "hello": write(HELLO)
        case "run": Run(request).whole()
        case "bye": break
