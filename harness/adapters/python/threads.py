"""What the profile `threads` takes: events in one order, threads that run at the same time, gates to park at."""

import random
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

here = threading.local()
here.lane = 0  # this thread reads the scripts; `par` begins others, and those of a registry count from 100
chance = random.Random()


def pause():
    """Lets others go first, by chance: so a race is found that a registry has between two of its lines."""
    if getattr(here, "lane", 1) and chance.random() < 0.2:
        time.sleep(0 if chance.random() < 0.8 else 2e-5)


class PausingLock:
    """A lock that may pause before it is taken and after it is given back."""

    def __init__(self):
        self.lock = threading.Lock()

    def __enter__(self):
        pause()
        self.lock.acquire()

    def __exit__(self, *error):
        self.lock.release()
        pause()


pausing = SimpleNamespace(**{**vars(threading), "Lock": PausingLock})  # for a registry in place of `threading`


@contextmanager
def pausing_reads(module):
    """Meanwhile each read of an attribute of the module's objects may pause: what two lines without a lock do is seen."""
    def read(own, name):
        pause()
        return object.__getattribute__(own, name)

    classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    classes = [one for one in classes if not issubclass(one, BaseException)]
    for one in classes:
        one.__getattribute__ = read
    yield
    for one in classes:
        del one.__getattribute__


class Threads:
    """What the threads of a script share. A thread that waits longer than `patience` is stuck; from then on none waits."""

    def __init__(self, patience):
        self.events, self.opened, self.stuck, self.patience = [], set(), False, patience
        self.shared = threading.Condition()  # its lock guards them

    def log(self, e, **what):
        with self.shared:
            self.events.append({"e": e, "lane": getattr(here, "lane", 100 + threading.get_native_id()), **what})

    def open(self, gate):
        with self.shared:
            self.opened.add(gate)
            self.shared.notify_all()

    def wait(self, op, gates):
        with self.shared:
            if not self.shared.wait_for(lambda: self.stuck or gates <= self.opened, self.patience):
                self.stuck = True
                self.log("stuck", op=op["id"])
                self.shared.notify_all()

    def par(self, op):
        chance.seed(self.trace["id"])
        # In some scripts threads take turns after every few lines. It costs time.
        sys.setswitchinterval(1e-6 if self.trace["id"] % 4 == 0 else 5e-3)
        together = threading.Barrier(len(op["lanes"]))  # otherwise the first may be done before the last begins

        def run(number, ops):
            here.lane = number
            together.wait()
            self.steps(ops)
            self.open((op["id"], number))  # a gate that says that the thread has ended

        threads = dict(enumerate(op["lanes"], 1))
        for thread in threads.items():  # daemons: one that the registry never gives back must not keep the adapter alive
            threading.Thread(target=run, args=thread, daemon=True).start()
        ends = {(op["id"], number) for number in threads}
        with self.shared:
            self.wait(op, ends)
            self.shared.wait_for(lambda: ends <= self.opened, self.patience)  # those that were stuck go on and end
