package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// run is one script: what it knows by number, and what its threads share.
type run struct {
	script   script
	id       int
	patience time.Duration
	stuck    chan struct{} // closed when patience has run out once: from then on none waits

	mu         sync.Mutex // orders the events, and guards all of this
	events     []event
	over       bool
	racing     bool       // threads have begun
	chance     *rand.Rand // for pauses
	need       string
	fuel       int
	lanes      map[string]int // by goroutine
	calls      map[string]int // by sink and kind
	registries map[int]*Registry
	sinks      map[int]*scripted
	subs       map[int]subscriber
	tickets    map[int]*Ticket
	gates      map[int]chan struct{}
}

func newRun(given request) *run {
	return &run{
		script: given.Script, id: given.ID, fuel: given.Fuel,
		patience: time.Duration(given.PatienceMs) * time.Millisecond,
		stuck:    make(chan struct{}), events: []event{},
		chance: rand.New(rand.NewSource(int64(given.ID))),
		lanes:  map[string]int{goroutine(): 0}, calls: map[string]int{},
		registries: map[int]*Registry{}, sinks: map[int]*scripted{}, subs: map[int]subscriber{},
		tickets: map[int]*Ticket{}, gates: map[int]chan struct{}{},
	}
}

// locked runs what reads or writes the tables.
func (r *run) locked(what func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
}

// goroutine names the one that calls. Go tells it only at the head of a stack: "goroutine 7 [running]:".
func goroutine() string {
	var head [64]byte
	return strings.Fields(string(head[:runtime.Stack(head[:], false)]))[1]
}

// log appends an event with its lane. The lane is the number of the goroutine for as long as that lives; those that no
// script began count from 100.
func (r *run) log(e string, what event) {
	own := goroutine()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(own, e, what)
}

func (r *run) append(own, e string, what event) {
	if r.over {
		return // a goroutine that came back too late
	}
	lane, known := r.lanes[own]
	if !known {
		lane = 100 + len(r.lanes)
		r.lanes[own] = lane
	}
	what["e"] = e
	if e != "unbuilt" {
		what["lane"] = lane
	}
	r.events = append(r.events, what)
}

// pause lets others go first, by chance: so a race is found that a registry has between two of its lines.
func (r *run) pause() {
	turn := 0
	r.locked(func() {
		if r.racing {
			turn = r.chance.Intn(120)
		}
	})
	switch {
	case turn > 115:
		time.Sleep(50 * time.Microsecond)
	case turn > 80:
		runtime.Gosched()
	default: // half of the others, for as long as a call takes
		for began := time.Now(); time.Since(began) < time.Duration(turn-40)*time.Microsecond; {
		}
	}
}

// begins logs a call of a sink, and finds its rule.
func (r *run) begins(on string, sink int, what event) rule {
	own := goroutine()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(own, on, what)
	r.fuel--
	if r.fuel < 0 && !r.over {
		r.append(own, "fuel", event{})
		r.finish()
		os.Exit(0)
	}
	kind := fmt.Sprint(on, sink)
	r.calls[kind]++
	if sink < len(r.script.Sinks) {
		for _, rule := range r.script.Sinks[sink].Rules {
			if rule.On == on && rule.Nth == r.calls[kind] {
				return rule
			}
		}
	}
	return rule{}
}

// finish answers once; what comes later is not logged. The caller holds the lock.
func (r *run) finish() {
	r.over = true
	if r.need != "" {
		write(event{"type": "unsupported", "id": r.id, "need": r.need})
	} else {
		write(event{"type": "trace", "id": r.id, "events": r.events})
	}
}

// wait parks until the channel is closed, or says that it waited in vain.
func (r *run) wait(op int, opened <-chan struct{}) {
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	select {
	case <-opened:
	case <-r.stuck:
	case <-timer.C:
		r.mu.Lock()
		defer r.mu.Unlock()
		select {
		case <-opened: // both, at the same time
		case <-r.stuck:
		default:
			r.append(goroutine(), "stuck", event{"op": op})
			close(r.stuck)
		}
	}
}

func (r *run) par(ctx context.Context, given op) {
	start, ended := make(chan struct{}), make(chan struct{})
	var ready, running sync.WaitGroup
	for i, ops := range given.Lanes {
		lane, ops := i+1, ops
		ready.Add(1)
		running.Add(1)
		go func() {
			defer running.Done()
			r.mu.Lock()
			r.lanes[goroutine()] = lane
			r.mu.Unlock()
			ready.Done()
			<-start // otherwise the first may be done before the last begins
			r.steps(ctx, ops)
		}()
	}
	ready.Wait()
	r.locked(func() { r.racing = true })
	close(start)
	go func() { running.Wait(); close(ended) }()
	r.wait(given.ID, ended)
	select { // those that were stuck go on and end, if the registry gives them back
	case <-ended:
	case <-time.After(r.patience):
	}
}

// gate is closed when it is released. The caller holds no lock.
func (r *run) gate(number int) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gates[number] == nil {
		r.gates[number] = make(chan struct{})
	}
	return r.gates[number]
}

func (r *run) release(number int) {
	gate := r.gate(number)
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-gate: // released before
	default:
		close(gate)
	}
}

// knows says whether the script has come to what an operation names, whatever the registry gave for it.
func (r *run) knows(op op) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := true
	switch op.Op {
	case "unsub", "take":
		_, known = r.subs[op.Sub]
	case "admit", "abandon":
		_, known = r.tickets[op.Ticket]
	}
	return known
}

// named is the subscriber and the ticket that an operation names, as far as there are any.
func (r *run) named(op op) (subscriber, *Ticket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.subs[op.Sub], r.tickets[op.Ticket]
}

// registry makes one on first use, with the options of the script.
func (r *run) registry(number int) (*Registry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found := r.registries[number]; found != nil {
		return found, nil
	}
	made, err := New(), error(nil)
	if r.script.Cap != nil {
		made, err = NewCapped(*r.script.Cap)
	}
	r.registries[number] = made
	return made, err
}

// sink is the same object for the same number. The caller holds the lock.
func (r *run) sink(number int) *scripted {
	if r.sinks[number] == nil {
		r.sinks[number] = &scripted{r, number}
	}
	return r.sinks[number]
}
