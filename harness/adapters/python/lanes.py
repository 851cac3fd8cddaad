"""What the profile `threads` takes: lanes that run at the same time, and gates to park at."""

import itertools
import threading
import time

_here = threading.local()
_foreign = itertools.count(100)  # numbers for threads that no script began


def lane():
    """The number of the running thread."""
    if not hasattr(_here, "lane"):
        _here.lane = next(_foreign)
    return _here.lane


def run(number, work, *arguments):
    """Does the work as this lane."""
    _here.lane = number
    return work(*arguments)


class Lanes:
    """The lanes and gates of one script. Who waits longer than `patience` is `stuck`, and frees all who wait."""

    def __init__(self, patience, stuck):
        self.patience, self.stuck, self.gates = patience, stuck, {}

    def gate(self, number):
        return self.gates.setdefault(number, threading.Event())

    def hold(self, op):
        if not self.gate(op["gate"]).wait(self.patience):
            self.give_up(op)

    def release(self, op):
        self.gate(op["gate"]).set()

    def par(self, op, steps):
        together = threading.Barrier(len(op["lanes"]))  # otherwise the first may be done before the last begins

        def lane_of(ops):
            together.wait()
            steps(ops)

        # Daemons: a lane that a broken registry never gives back must not hold the adapter.
        threads = [
            threading.Thread(target=run, args=(number, lane_of, ops), daemon=True)
            for number, ops in enumerate(op["lanes"], 1)
        ]
        for thread in threads:
            thread.start()
        patience = self.patience
        if not ended(threads, patience):
            self.give_up(op)
            ended(threads, patience)

    def give_up(self, op):
        self.stuck(op)
        self.patience = 0
        for gate in list(self.gates.values()):
            gate.set()


def ended(threads, patience):
    """Whether they all end in time."""
    until = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
