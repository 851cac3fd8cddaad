"""Drives the registry of `registry.py` for `registry-conform`: python3 adapter.py

A registry without threads needs nothing of `lanes.py`: its only lane is 0.
"""

import json
import os
import sys
import threading

from lanes import Lanes, lane, run
from registry import Refused, SubscriberRegistry

HELLO = {
    "type": "hello", "protocol": 1, "name": "registry.py", "language": "python",
    "profiles": ["core", "scope_cap", "admission", "threads"],
    "features": ["count", "groups", "kinds", "reasons", "shutdown"],
    "policies": {"order": "total"},
}


class Run:
    """One script on a fresh registry."""

    def __init__(self, request):
        self.id, self.script, self.fuel = request["id"], request["script"], request["fuel"]
        self.lanes = Lanes(request["patience_ms"] / 1000, lambda op: self.log("stuck", op=op["id"]))
        self.lock = threading.RLock()  # one order for what all threads log
        self.events, self.calls = [], {}
        self.registries, self.sinks, self.subs, self.tickets = {}, {}, {}, {}

    def log(self, e, **what):
        with self.lock:
            self.events.append({"e": e, "lane": lane(), **what})

    def registry(self, number=0):
        with self.lock:
            if number not in self.registries:
                self.registries[number] = SubscriberRegistry(self.script.get("cap"))
            return self.registries[number]

    def trace(self):
        try:
            self.registry()
        except ValueError as error:
            return [{"e": "unbuilt", "error": str(error)}]
        self.steps(self.script["steps"])
        with self.lock:
            return list(self.events)

    def steps(self, ops):
        for op in ops:
            unknown_sub = op["op"] == "unsub" and op["sub"] not in self.subs
            if unknown_sub or op["op"] in ("admit", "abandon") and op["ticket"] not in self.tickets:
                continue
            self.log("call", op=op["id"])
            try:
                self.log("ret", op=op["id"], **self.act(op, self.registry(op.get("registry", 0))))
            except Refused:
                self.log("ret", op=op["id"], refused=True)
            except Exception as error:
                self.log("err", op=op["id"], error=repr(error))

    def act(self, op, registry):
        match op["op"]:
            case "sub": self.subscribe(op, registry.subscribe)
            case "unsub": self.subs[op["sub"]]()
            case "cast": registry.broadcast(op["channel"], op["data"])
            case "revoke": return {"n": registry.close_by_identity(identity(op["identity"]))}
            case "count": return {"n": len(registry)}
            case "begin": self.tickets[op["ticket"]] = registry.begin()
            case "admit": self.subscribe(op, self.tickets[op["ticket"]].admit)
            case "abandon": self.tickets[op["ticket"]].abandon()
            case "shutdown": registry.shutdown()
            case "settle": pass  # a broadcast delivers before it returns
            case "hold": self.lanes.hold(op)
            case "release": self.lanes.release(op)
            case "par": self.lanes.par(op, self.steps)
            case other: raise NotImplementedError(other)
        return {}

    def subscribe(self, op, call):
        sink = self.sinks.setdefault(op["sink"], Sink(self, op["sink"]))
        channels, groups = list(op.get("channels", ())), [identity(group) for group in op.get("groups", ())]
        self.subs[op["sub"]] = call(sink, channels, identity(op.get("scope")), groups)
        if "overwrite" in op:
            channels[:] = [op["overwrite"]] * (len(channels) + 1)


class Sink:
    """What the registry calls: logs the call, does what the script says for it."""

    def __init__(self, run, number):
        self.run, self.number = run, number

    def send(self, data):
        self.called("send", "sent", data=data)

    def close(self, reason):
        self.called("close", "closed", reason=reason)

    def called(self, on, ended, **what):
        run = self.run
        with run.lock:
            run.log(on, sink=self.number, **what)
            nth = run.calls[self, on] = run.calls.get((self, on), 0) + 1
            run.fuel -= 1
            if run.fuel < 0:
                run.log("fuel")
                write({"type": "trace", "id": run.id, "events": run.events})
                os._exit(0)
        sinks = run.script.get("sinks", ())
        rules = sinks[self.number]["rules"] if self.number < len(sinks) else ()
        rule = next((rule for rule in rules if (rule["on"], rule["nth"]) == (on, nth)), {})
        run.steps(rule.get("do", ()))  # called from inside the registry's call: that is a test
        threw = rule.get("then", "ok") != "ok"
        run.log(ended, sink=self.number, threw=threw)
        if threw:
            raise RuntimeError("the script says so")


def identity(value):
    return (value["kind"], value["value"]) if isinstance(value, dict) else value


def write(message):
    print(json.dumps(message), flush=True)  # escaped: it does not matter how the stream encodes


for line in sys.stdin:
    request = json.loads(line)
    if request["type"] == "hello":
        write(HELLO)
    elif request["type"] == "run":
        write({"type": "trace", "id": request["id"], "events": run(0, Run(request).trace)})
    else:
        break
