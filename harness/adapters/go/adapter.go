// Drives the registry of registry.go for registry-conform: go build -o adapter . && registry-conform run -- ./adapter
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

var hello = event{
	"type": "hello", "protocol": 1, "name": "registry.go", "language": "go",
	"profiles": []string{"core", "scope_cap", "admission", "directed", "queued", "threads"},
	"features": []string{"count", "groups", "kinds", "reasons", "revoke_as", "shutdown"},
	"policies": event{"order": "total"},
}

// whole runs one script on a fresh registry.
func (r *run) whole() {
	if _, err := r.registry(0); err != nil {
		r.log("unbuilt", event{"error": err.Error()})
	} else {
		r.steps(context.Background(), r.script.Steps)
	}
	r.locked(r.finish)
}

func (r *run) steps(ctx context.Context, ops []op) {
	for _, op := range ops {
		if r.knows(op) {
			r.log("call", event{"op": op.ID})
			if op.Op != "hold" && op.Op != "release" {
				r.pause()
			}
			r.log(r.outcome(ctx, op))
		}
	}
}

// outcome says how an operation ended. Go has no exceptions: an error that it returns and a panic are both an `err`,
// and only the error that means a refusal is none.
func (r *run) outcome(ctx context.Context, op op) (e string, what event) {
	what = event{}
	defer func() {
		if panicked := recover(); panicked != nil {
			e, what = "err", event{"error": fmt.Sprint("panic: ", panicked)}
		}
		what["op"] = op.ID
	}()
	switch err := r.act(ctx, op, what); {
	case errors.Is(err, ErrRefused):
		return "ret", event{"refused": true}
	case err != nil:
		return "err", event{"error": err.Error()}
	}
	return "ret", what
}

func (r *run) act(ctx context.Context, op op, what event) error {
	registry, err := r.registry(op.Registry)
	if err != nil {
		return err
	}
	sub, ticket := r.named(op)
	switch op.Op {
	case "sub":
		return r.subscribe(ctx, op, registry.Subscribe)
	case "admit":
		return r.subscribe(ctx, op, ticket.Admit)
	case "unsub":
		sub.unsubscribe()
	case "take":
		what["taken"] = taken(sub.outbox.Take(or(op.Bytes, 64<<10)))
	case "cast":
		if op.To != nil {
			registry.SendTo(ctx, *op.To, op.Channel, op.Data)
		} else {
			registry.Broadcast(ctx, op.Channel, op.Data)
		}
	case "revoke":
		if op.Reason != nil {
			what["n"] = registry.CloseByIdentityAs(ctx, op.Identity, *op.Reason)
		} else {
			what["n"] = registry.CloseByIdentity(ctx, op.Identity)
		}
	case "count":
		what["n"] = registry.Len()
	case "begin":
		ticket = registry.Begin()
		r.locked(func() { r.tickets[op.Ticket] = ticket })
	case "abandon":
		ticket.Abandon()
	case "shutdown":
		registry.Shutdown(ctx)
	case "settle": // a broadcast delivers before it returns
	case "hold":
		r.wait(op.ID, r.gate(op.Gate))
	case "release":
		r.release(op.Gate)
	case "par":
		r.par(ctx, op)
	default:
		r.locked(func() { r.need = "the operation " + op.Op }) // kept for the end: returned, it would be an err
	}
	return nil
}

type subscriber struct {
	unsubscribe func()
	outbox      *Outbox // nil if it has a sink
}

func (r *run) subscribe(ctx context.Context, op op, call func(context.Context, Sink, Registration) (func(), error)) error {
	var sink Sink
	var outbox *Outbox
	r.locked(func() { sink = r.sink(op.Sink) })
	if op.Outbox != nil {
		outbox = NewOutbox(op.Outbox.bounds())
		sink = outbox
	}
	channels := append([]string(nil), op.Channels...)
	unsubscribe, err := call(ctx, sink, Registration{channels, op.Scope, op.Groups})
	if err != nil {
		return err
	}
	r.locked(func() { r.subs[op.Sub] = subscriber{unsubscribe, outbox} })
	if op.Overwrite != nil {
		for i := range channels {
			channels[i] = *op.Overwrite
		}
		_ = append(channels, *op.Overwrite)
	}
	return nil
}

// scripted is what the registry calls. One number is one object.
type scripted struct {
	run    *run
	number int
}

func (s *scripted) Send(ctx context.Context, message Message) error {
	return s.called(ctx, "send", "sent", event{"data": message.Data})
}

func (s *scripted) Close(ctx context.Context, reason string) {
	if err := s.called(ctx, "close", "closed", event{"reason": reason}); err != nil {
		panic(err) // this call has no other way to report failure
	}
}

func (s *scripted) called(ctx context.Context, on, after string, what event) error {
	what["sink"] = s.number
	rule := s.run.begins(on, s.number, what)
	s.run.pause()
	s.run.steps(ctx, rule.Do) // from inside the registry's call: that is a test
	threw := rule.Then == "throw" || rule.Then == "fail"
	s.run.log(after, event{"sink": s.number, "threw": threw})
	switch err := errors.New("the script says so"); rule.Then {
	case "fail":
		return err
	case "throw":
		panic(err)
	}
	return nil
}

func write(answer event) {
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		os.Exit(0) // the runner reads no more
	}
}

func main() {
	for requests := json.NewDecoder(os.Stdin); ; {
		var request request
		switch err := requests.Decode(&request); {
		case err == io.EOF || request.Type == "bye":
			return
		case err != nil:
			write(event{"type": "adapter_error", "message": err.Error()})
			return
		case request.Type == "hello":
			write(hello)
		case request.Type == "run":
			newRun(request).whole()
		}
	}
}
