"""A small complete subscriber registry for threads: channels, scopes under a cap, groups, admission tickets.

One lock guards the tables and is never held while a sink runs. Broadcasts are queued with the members that they
found; whichever thread finds nobody delivering delivers them in order, so that all see one order and a thread that
broadcasts from inside a delivery does not wait for itself. Each member has a gate, looked at immediately before
each hand-over: after a revocation returned, no send begins.
"""

import threading
from collections import deque


class Refused(Exception):
    """The registry does not take this subscriber."""


class _Member:
    def __init__(self, sink, channels, scope, groups):
        self.sink = sink
        self.channels = frozenset(channels) or None
        self.scope = scope
        self.identities = frozenset(groups) | ({scope} if scope is not None else frozenset())
        self.ended = False
        self.sender = None  # the thread that is sending
        self.pending = None  # the reason of a close that waits for the send on its own thread
        self.gate = threading.Lock()

    def end(self):
        with self.gate:
            self.ended = True

    def close(self, reason):
        with self.gate:
            if self.sender == threading.get_ident():
                self.pending = reason
                return
        try:
            self.sink.close(reason)
        except Exception:  # a failing close concerns nobody else
            pass

    def send(self, data):
        """Hands over, if still active. True if the sink failed."""
        with self.gate:
            if self.ended:
                return False
            self.sender = threading.get_ident()
        failed = False
        try:
            self.sink.send(data)
        except Exception:
            failed = True
        with self.gate:
            self.sender = None
            reason, self.pending = self.pending, None
        if reason is not None:
            self.close(reason)
        return failed


class SubscriberRegistry:
    """`cap` is the most subscribers of one scope; the oldest is evicted."""

    def __init__(self, cap=None):
        if cap is not None and cap < 1:
            raise ValueError("a cap is at least 1")
        self._cap = cap
        self._lock = threading.Lock()
        self._members = {}  # in order of subscription; the values mean nothing
        self._queue = deque()
        self._delivering = False
        self._down = False
        self._tickets = []

    def __len__(self):
        return len(self._members)

    def subscribe(self, sink, channels=(), scope=None, groups=()):
        """Absent and empty channels mean every channel. Returns a function that unsubscribes."""
        return self._subscribe(_Member(sink, channels, scope, groups))

    def _subscribe(self, member, ticket=None):
        scope = member.scope
        with self._lock:
            if ticket is not None:
                if ticket not in self._tickets:
                    raise Refused("the ticket was used or given up")
                self._tickets.remove(ticket)
            if self._down or (ticket is not None and not ticket.revoked.isdisjoint(member.identities)):
                raise Refused("revoked or shut down")
            own = [other for other in self._members if scope is not None and other.scope == scope]
            victims = own[: max(0, len(own) + 1 - self._cap)] if self._cap else []
            self._members[member] = None
            self._take(victims)
        self._close(victims, "evicted")

        def unsubscribe():
            with self._lock:
                self._members.pop(member, None)
            member.end()

        return unsubscribe

    def broadcast(self, channel, data):
        self._publish(data, lambda member: member.channels is None or channel in member.channels)

    def send_to(self, identity, channel, data):
        """To all that hold the identity, whatever they listen to."""
        self._publish(data, lambda member: identity in member.identities)

    def _publish(self, data, is_for):
        with self._lock:
            members = [member for member in self._members if is_for(member)]
            self._queue.append((data, members))
            if self._delivering:
                return
            self._delivering = True
        while True:
            with self._lock:
                if not self._queue:
                    self._delivering = False
                    return
                data, members = self._queue.popleft()
            for member in members:
                if member.send(data):
                    self._end(lambda other: other is member, "failed")

    def close_by_identity(self, identity):
        """Their clients come back and authenticate again."""
        return self.close_by_identity_as(identity, "revoked")

    def close_by_identity_as(self, identity, reason):
        """Names the reason that clients are told: "revoked", "logged_out" or "expired"."""
        return self._end(lambda member: identity in member.identities, reason, identity)

    def begin(self):
        """Opens a ticket, before the credential is read; `admit` subscribes afterwards, or is refused."""
        ticket = Ticket(self)
        with self._lock:
            self._tickets.append(ticket)
        return ticket

    def shutdown(self):
        self._down = True
        self._end(lambda member: True, "shutdown")

    def _end(self, matches, reason, identity=None):
        with self._lock:
            for ticket in self._tickets if identity is not None else ():
                ticket.revoked.add(identity)
            members = [member for member in self._members if matches(member)]
            self._take(members)
        self._close(members, reason)
        return len(members)

    def _take(self, members):
        for member in members:
            self._members.pop(member, None)

    def _close(self, members, reason):
        for member in members:
            member.end()
        for member in members:
            member.close(reason)


class Ticket:
    """What was revoked since it was opened."""

    def __init__(self, registry):
        self._registry = registry
        self.revoked = set()

    def admit(self, sink, channels=(), scope=None, groups=()):
        return self._registry._subscribe(_Member(sink, channels, scope, groups), self)

    def abandon(self):
        with self._registry._lock:
            if self in self._registry._tickets:
                self._registry._tickets.remove(self)
