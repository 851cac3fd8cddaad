package main

// A small complete subscriber registry for goroutines: channels, scopes under a cap, groups, tickets, outboxes.
//
// One lock guards the tables and is never held while a sink runs. Broadcasts are queued with the members that they
// found; whichever goroutine finds nobody delivering delivers them in order, so that all see one order, and a sink
// that broadcasts from inside its Send does not wait for itself. Each member is looked at immediately before each
// hand-over: after a revocation has returned, no Send begins.

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

var (
	ErrRefused = errors.New("the registry does not take this subscriber")
	ErrLagged  = errors.New("the outbox is full")
)

// Message is what a broadcast hands over.
type Message struct{ Channel, Data string }

// Identity is a name by which subscribers are closed. One without a kind differs from one whose kind is "".
type Identity struct {
	HasKind     bool
	Kind, Value string
}

// Sink is called by the registry. A Send that returns an error or panics ends the subscriber, and nobody else; a
// Close that panics is contained. Give the context to every call that is made on the registry from inside.
type Sink interface {
	Send(ctx context.Context, message Message) error
	Close(ctx context.Context, reason string)
}

// Registration is what a subscriber asks for. No channels means every channel.
type Registration struct {
	Channels []string
	Scope    *Identity
	Groups   []Identity
}

type member struct {
	sink       Sink
	channels   map[string]bool // nil hears every channel
	scope      *Identity
	identities map[Identity]bool

	mu      sync.Mutex
	ended   bool
	sending bool
	pending string // the reason of a close that waits for the send that called for it
}

// inSend is the key under which the context of a Send holds its member. A goroutine has no name, so this is how a
// member that is ended from inside its own Send is known.
type inSend struct{ member *member }

func newMember(sink Sink, with Registration) *member {
	m := &member{sink: sink, identities: make(map[Identity]bool)}
	for _, name := range with.Channels { // a copy: the list stays the caller's
		if m.channels == nil {
			m.channels = make(map[string]bool)
		}
		m.channels[name] = true
	}
	for _, group := range with.Groups {
		m.identities[group] = true
	}
	if with.Scope != nil {
		scope := *with.Scope
		m.scope = &scope
		m.identities[scope] = true
	}
	return m
}

// send hands over if the member is still active.
func (m *member) send(ctx context.Context, message Message) error {
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return nil
	}
	m.sending = true
	m.mu.Unlock()
	err := contain(func() error { return m.sink.Send(context.WithValue(ctx, inSend{m}, true), message) })
	m.mu.Lock()
	reason := m.pending
	m.sending, m.pending = false, ""
	m.mu.Unlock()
	if reason != "" {
		m.close(ctx, reason)
	}
	return err
}

func (m *member) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
}

func (m *member) close(ctx context.Context, reason string) {
	m.mu.Lock()
	own := m.sending && ctx.Value(inSend{m}) != nil
	if own {
		m.pending = reason
	}
	m.mu.Unlock()
	if !own {
		_ = contain(func() error { m.sink.Close(ctx, reason); return nil }) // a failing close concerns nobody else
	}
}

// contain makes an error of a panic in application code.
func contain(call func() error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("the sink panicked: %v", panicked)
		}
	}()
	return call()
}

type delivery struct {
	message Message
	members []*member
}

// Registry is safe for concurrent use. Of a context it uses the values alone: no call can be cancelled halfway.
type Registry struct {
	scopeCap int // 0: no cap

	mu         sync.Mutex
	members    []*member // in order of subscription
	queue      []delivery
	delivering bool
	down       bool
	tickets    map[*Ticket]map[Identity]bool // those that are open, and what was revoked since
}

// New makes a registry whose scopes have no cap.
func New() *Registry { return &Registry{tickets: make(map[*Ticket]map[Identity]bool)} }

// NewCapped makes a registry that evicts the oldest subscriber of a scope beyond the cap.
func NewCapped(scopeCap int) (*Registry, error) {
	if scopeCap < 1 {
		return nil, errors.New("a cap is at least 1")
	}
	r := New()
	r.scopeCap = scopeCap
	return r, nil
}

// Subscribe returns the function that unsubscribes.
func (r *Registry) Subscribe(ctx context.Context, sink Sink, with Registration) (func(), error) {
	return r.add(ctx, newMember(sink, with), nil)
}

func (r *Registry) add(ctx context.Context, m *member, ticket *Ticket) (func(), error) {
	r.mu.Lock()
	refused := r.down
	if ticket != nil {
		revoked, open := r.tickets[ticket]
		delete(r.tickets, ticket)
		refused = refused || !open
		for identity := range m.identities {
			refused = refused || revoked[identity]
		}
	}
	if refused {
		r.mu.Unlock()
		return nil, ErrRefused
	}
	var victims []*member
	if r.scopeCap > 0 && m.scope != nil {
		peer := func(other *member) bool { return other.scope != nil && *other.scope == *m.scope }
		excess := 1 - r.scopeCap
		for _, other := range r.members {
			if peer(other) {
				excess++
			}
		}
		victims = r.take(func(other *member) bool {
			if excess <= 0 || !peer(other) {
				return false
			}
			excess--
			return true
		})
	}
	r.members = append(r.members, m)
	r.mu.Unlock()
	closeAll(ctx, victims, "evicted")
	return func() { r.unsubscribe(m) }, nil
}

func (r *Registry) unsubscribe(m *member) {
	r.mu.Lock()
	taken := r.take(func(other *member) bool { return other == m })
	r.mu.Unlock()
	m.end()
	if box, ok := m.sink.(*Outbox); ok && len(taken) > 0 {
		box.Close(context.Background(), "unsubscribed") // its reader is not the one that unsubscribed, and has to stop
	}
}

// Broadcast delivers before it returns, or leaves it to the goroutine that is delivering.
func (r *Registry) Broadcast(ctx context.Context, channel, data string) {
	r.publish(ctx, Message{channel, data}, func(m *member) bool { return m.channels == nil || m.channels[channel] })
}

// SendTo sends to all that hold the identity, whatever they listen to. In all else it is as Broadcast.
func (r *Registry) SendTo(ctx context.Context, identity Identity, channel, data string) {
	r.publish(ctx, Message{channel, data}, func(m *member) bool { return m.identities[identity] })
}

func (r *Registry) publish(ctx context.Context, message Message, isFor func(*member) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := delivery{message: message}
	for _, m := range r.members {
		if isFor(m) {
			next.members = append(next.members, m)
		}
	}
	r.queue = append(r.queue, next)
	if r.delivering {
		return
	}
	r.delivering = true
	for len(r.queue) > 0 {
		next, r.queue = r.queue[0], r.queue[1:]
		r.mu.Unlock()
		for _, m := range next.members {
			r.deliver(ctx, m, next.message)
		}
		r.mu.Lock()
	}
	r.delivering = false
}

func (r *Registry) deliver(ctx context.Context, m *member, message Message) {
	if err := m.send(ctx, message); err != nil {
		reason := "failed"
		if errors.Is(err, ErrLagged) {
			reason = "lagged"
		}
		r.end(ctx, reason, func(other *member) bool { return other == m })
	}
}

// CloseByIdentity ends all that hold the identity and returns their number. Their clients come back and
// authenticate again.
func (r *Registry) CloseByIdentity(ctx context.Context, identity Identity) int {
	return r.CloseByIdentityAs(ctx, identity, "revoked")
}

// CloseByIdentityAs names the reason that clients are told: "revoked", "logged_out" or "expired".
func (r *Registry) CloseByIdentityAs(ctx context.Context, identity Identity, reason string) int {
	return r.end(ctx, reason, func(m *member) bool { return m.identities[identity] }, identity)
}

// Shutdown ends all and refuses new ones.
func (r *Registry) Shutdown(ctx context.Context) {
	r.mu.Lock()
	r.down = true
	r.mu.Unlock()
	r.end(ctx, "shutdown", func(*member) bool { return true })
}

// Len is the number of active subscribers.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}

// end ends those that match, and has the open tickets remember what was revoked.
func (r *Registry) end(ctx context.Context, reason string, matches func(*member) bool, revoked ...Identity) int {
	r.mu.Lock()
	for _, since := range r.tickets {
		for _, identity := range revoked {
			since[identity] = true
		}
	}
	members := r.take(matches)
	r.mu.Unlock()
	closeAll(ctx, members, reason)
	return len(members)
}

// take removes those that match from the table. The caller holds the lock.
func (r *Registry) take(matches func(*member) bool) (taken []*member) {
	kept := make([]*member, 0, len(r.members))
	for _, m := range r.members {
		if matches(m) {
			taken = append(taken, m)
		} else {
			kept = append(kept, m)
		}
	}
	r.members = kept
	return taken
}

// closeAll ends all before it tells the first, whose Close may broadcast.
func closeAll(ctx context.Context, members []*member, reason string) {
	for _, m := range members {
		m.end()
	}
	for _, m := range members {
		m.close(ctx, reason)
	}
}

// Ticket is opened before the credential is read: what is revoked from then on refuses it.
type Ticket struct{ registry *Registry }

// Begin opens a ticket.
func (r *Registry) Begin() *Ticket {
	ticket := &Ticket{r}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tickets[ticket] = make(map[Identity]bool)
	return ticket
}

// Admit subscribes, once.
func (t *Ticket) Admit(ctx context.Context, sink Sink, with Registration) (func(), error) {
	return t.registry.add(ctx, newMember(sink, with), t)
}

// Abandon gives the ticket up.
func (t *Ticket) Abandon() {
	t.registry.mu.Lock()
	defer t.registry.mu.Unlock()
	delete(t.registry.tickets, t)
}
