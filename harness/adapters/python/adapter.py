"""Drives the registry of `registry.py` for `registry-conform`: python3 adapter.py"""

import json
import os
import sys
from collections import Counter, defaultdict

from lanes import Lanes
from registry import Refused, SubscriberRegistry

HELLO = {
    "type": "hello", "protocol": 1, "name": "registry.py", "language": "python",
    "profiles": ["core", "scope_cap", "admission", "threads"],
    "features": ["count", "groups", "kinds", "reasons", "shutdown"], "policies": {"order": "total"},
}


class Run(Lanes):
    """One script on a fresh registry. Without threads, the only lane is 0 and nothing here needs a lock."""

    def __init__(self, request):
        super().__init__(request["patience_ms"] / 1000)
        self.script, self.fuel, self.calls = request["script"], request["fuel"], Counter()
        self.trace = {"type": "trace", "id": request["id"], "events": self.events}
        self.registries = defaultdict(lambda: SubscriberRegistry(self.script.get("cap")))  # made on first use
        self.sinks, self.subs, self.tickets = {}, {}, {}

    def whole(self):
        try:
            self.registries[0]
        except ValueError as error:
            self.events.append({"e": "unbuilt", "error": str(error)})
        else:
            self.steps(self.script["steps"])
        with self.shared:  # a lane that never came back may still log
            print(json.dumps(self.trace), flush=True)

    def steps(self, ops):
        for op in ops:
            unknown_sub = op["op"] == "unsub" and op["sub"] not in self.subs
            if unknown_sub or op["op"] in ("admit", "abandon") and op["ticket"] not in self.tickets:
                continue
            self.log("call", op=op["id"])
            try:
                self.log("ret", op=op["id"], **self.act(op) or {})
            except Refused:
                self.log("ret", op=op["id"], refused=True)
            except Exception as error:
                self.log("err", op=op["id"], error=repr(error))

    def act(self, op):
        with self.shared:
            registry = self.registries[op.get("registry", 0)]
        match op["op"]:
            case "sub": self.subscribe(op, registry.subscribe)
            case "unsub": self.subs[op["sub"]]()
            case "cast": registry.broadcast(op["channel"], op["data"])
            case "revoke": return {"n": registry.close_by_identity(op["identity"])}
            case "count": return {"n": len(registry)}
            case "begin": self.tickets[op["ticket"]] = registry.begin()
            case "admit": self.subscribe(op, self.tickets[op["ticket"]].admit)
            case "abandon": self.tickets[op["ticket"]].abandon()
            case "shutdown": registry.shutdown()
            case "settle": pass  # a broadcast delivers before it returns
            case "hold": self.wait(op, {op["gate"]})
            case "release": self.open(op["gate"])
            case "par": self.par(op)
            case other: raise NotImplementedError(other)

    def subscribe(self, op, call):
        sink = self.sinks.setdefault(op["sink"], Sink(self, op["sink"]))
        channels = list(op.get("channels", ()))
        self.subs[op["sub"]] = call(sink, channels, op.get("scope"), op.get("groups", ()))
        if "overwrite" in op:
            channels[:] = [op["overwrite"]] * (len(channels) + 1)

    def called(self, number, on, ended, **what):
        with self.shared:
            self.log(on, sink=number, **what)
            self.calls[number, on] += 1
            nth = self.calls[number, on]
            if self.calls.total() > self.fuel:
                self.log("fuel")
                print(json.dumps(self.trace), flush=True)
                os._exit(0)
        rules = [rule for sink in self.script.get("sinks", ())[number:][:1] for rule in sink["rules"]]
        rule = next((rule for rule in rules if (rule["on"], rule["nth"]) == (on, nth)), {})
        self.steps(rule.get("do", ()))  # from inside the registry's call: that is a test
        threw = rule.get("then", "ok") != "ok"
        self.log(ended, sink=number, threw=threw)
        if threw:
            raise RuntimeError("the script says so")


class Sink:
    """What the registry calls."""

    def __init__(self, run, number):
        self.send = lambda data: run.called(number, "send", "sent", data=data)
        self.close = lambda reason: run.called(number, "close", "closed", reason=reason)


for line in sys.stdin:
    # An identity with a kind is made a pair: a dict cannot be a key.
    request = json.loads(line, object_hook=lambda it: (it["kind"], it["value"]) if "kind" in it else it)
    match request["type"]:
        case "hello": print(json.dumps(HELLO), flush=True)
        case "run": Run(request).whole()
        case _: break
