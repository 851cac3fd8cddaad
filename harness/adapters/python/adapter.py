"""Drives the registry of `registry.py` for `registry-conform`: python3 adapter.py"""

import itertools
import json
import os
import sys
import threading

from registry import Refused, SubscriberRegistry

HELLO = {
    "type": "hello", "protocol": 1, "name": "registry.py", "language": "python",
    "profiles": ["core", "scope_cap", "admission", "threads"],
    "features": ["count", "groups", "kinds", "reasons", "shutdown"],
    "policies": {"order": "total"},
}
FOREIGN = itertools.count(100)


def identity(value):
    return (value["kind"], value["value"]) if isinstance(value, dict) else value


class Run:
    """One script on a fresh registry."""

    def __init__(self, request):
        self.id, self.script, self.fuel = request["id"], request["script"], request["fuel"]
        self.patience = request["patience_ms"] / 1000
        self.lock = threading.Lock()  # orders the events and the counters of all threads
        self.events, self.calls = [], {}
        self.registries, self.sinks, self.subs, self.tickets = {}, {}, {}, {}
        self.gates, self.moved, self.forced = set(), threading.Condition(), False
        self.here = threading.local()

    def lane(self):
        if not hasattr(self.here, "lane"):
            self.here.lane = next(FOREIGN)
        return self.here.lane

    def log(self, **event):
        with self.lock:
            self.events.append(event)

    def registry(self, number=0):
        if number not in self.registries:
            self.registries[number] = SubscriberRegistry(self.script.get("cap"))
        return self.registries[number]

    def trace(self):
        self.here.lane = 0
        try:
            self.registry()
        except ValueError as error:
            return [{"e": "unbuilt", "error": str(error)}]
        self.run(self.script["steps"])
        with self.lock:
            return list(self.events)

    def run(self, ops, lane=None):
        if lane is not None:
            self.here.lane = lane
        for op in ops:
            self.step(op)

    def step(self, op):
        kind = op["op"]
        if kind == "unsub" and op["sub"] not in self.subs or kind in ("admit", "abandon") and op["ticket"] not in self.tickets:
            return
        self.log(e="call", op=op["id"], lane=self.lane())
        try:
            done = getattr(self, kind)(op) or {}
        except Exception as error:
            self.log(e="err", op=op["id"], error=repr(error))
        else:
            self.log(e="ret", op=op["id"], **done)

    def sub(self, op, ticket=None):
        channels, sink = op.get("channels"), self.sinks.setdefault(op["sink"], Sink(self, op["sink"]))
        channels = [] if channels is None else list(channels)
        scope = identity(op["scope"]) if "scope" in op else None
        groups = [identity(group) for group in op.get("groups", ())]
        owner = self.registry(op.get("registry", 0)) if ticket is None else ticket[0]
        try:
            self.subs[op["sub"]] = owner.subscribe(sink, channels, scope, groups, ticket and ticket[1])
        except Refused:
            return {"refused": True}
        if "overwrite" in op:
            channels[:] = [op["overwrite"]] * (len(channels) + 1)

    def admit(self, op):
        return self.sub(op, self.tickets[op["ticket"]])

    def begin(self, op):
        registry = self.registry(op.get("registry", 0))
        self.tickets[op["ticket"]] = registry, registry.begin()

    def abandon(self, op):
        registry, ticket = self.tickets[op["ticket"]]
        registry.abandon(ticket)

    def unsub(self, op):
        self.subs[op["sub"]]()

    def cast(self, op):
        self.registry(op.get("registry", 0)).broadcast(op["channel"], op["data"])

    def revoke(self, op):
        return {"n": self.registry(op.get("registry", 0)).close_by_identity(identity(op["identity"]))}

    def count(self, op):
        return {"n": len(self.registry(op.get("registry", 0)))}

    def shutdown(self, op):
        self.registry(op.get("registry", 0)).shutdown()

    def settle(self, op):
        pass

    def release(self, op):
        with self.moved:
            self.gates.add(op["gate"])
            self.moved.notify_all()

    def hold(self, op):
        with self.moved:
            self.wait(op, lambda: op["gate"] in self.gates)

    def par(self, op):
        arrived = []

        def lane(number, ops):
            self.run(ops, number)
            with self.moved:
                arrived.append(number)
                self.moved.notify_all()

        for number, ops in enumerate(op["lanes"], 1):
            # A lane that a broken registry never gives back must not hold the adapter.
            threading.Thread(target=lane, args=(number, ops), daemon=True).start()
        with self.moved:
            self.wait(op, lambda: len(arrived) == len(op["lanes"]))
            if self.forced:
                self.moved.wait_for(lambda: len(arrived) == len(op["lanes"]), self.patience)

    def wait(self, op, reached):
        if not self.moved.wait_for(lambda: self.forced or reached(), self.patience):
            self.log(e="stuck", op=op["id"])
            self.forced = True
            self.moved.notify_all()


class Sink:
    def __init__(self, run, number):
        self.run, self.number = run, number

    def send(self, data):
        self.hook("send", "sent", data=data)

    def close(self, reason):
        self.hook("close", "closed", reason=reason)

    def hook(self, on, after, **what):
        run, lane = self.run, self.run.lane()
        with run.lock:
            run.events.append({"e": on, "sink": self.number, "lane": lane, **what})
            nth = run.calls[on, self.number] = run.calls.get((on, self.number), 0) + 1
            run.fuel -= 1
            if run.fuel < 0:
                run.events.append({"e": "fuel"})
                write({"type": "trace", "id": run.id, "events": run.events})
                os._exit(0)
        rules = run.script.get("sinks", ())[self.number : self.number + 1]
        rule = next((r for s in rules for r in s["rules"] if r["on"] == on and r["nth"] == nth), {})
        run.run(rule.get("do", ()))
        threw = rule.get("then", "ok") != "ok"
        run.log(e=after, sink=self.number, lane=lane, threw=threw)
        if threw:
            raise RuntimeError("the script says so")


def write(message):
    # Escaped, so that it does not matter what encoding the standard streams have.
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    request = json.loads(line)
    if request["type"] == "hello":
        write(HELLO)
    elif request["type"] == "run":
        write({"type": "trace", "id": request["id"], "events": Run(request).trace()})
    else:
        break
