package main

import (
	"context"
	"sync"
)

// Bounds limit what waits in an outbox. A single message that is larger than MaxBytes fits into an empty one.
type Bounds struct {
	MaxMessages, MaxBytes int
	Overflow              string // "close", "drop_oldest", "drop_newest" or "keep_latest"
}

// Outbox is a sink that keeps messages for the goroutine that writes to one peer. It never blocks a broadcast.
type Outbox struct {
	bounds Bounds

	mu      sync.Mutex
	waiting []Message
	bytes   int
	lost    int // by overflow, and not told yet
	ended   bool
	reason  string
}

// NewOutbox makes an empty outbox.
func NewOutbox(bounds Bounds) *Outbox { return &Outbox{bounds: bounds} }

// Send lets a message wait, or does with it what the policy says.
func (o *Outbox) Send(_ context.Context, message Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return nil
	}
	for !o.hasRoom(message) {
		victim := 0
		switch o.bounds.Overflow {
		case "drop_newest":
			o.lost++
			return nil
		case "drop_oldest":
		case "keep_latest": // the oldest on its channel, or else the oldest of all
			for i := len(o.waiting) - 1; i >= 0; i-- {
				if o.waiting[i].Channel == message.Channel {
					victim = i
				}
			}
		default:
			o.end("lagged") // at once: a reader must not find what came before the gap, and no gap
			return ErrLagged
		}
		o.bytes -= len(o.waiting[victim].Data)
		o.waiting = append(o.waiting[:victim], o.waiting[victim+1:]...)
		o.lost++
	}
	o.waiting = append(o.waiting, message)
	o.bytes += len(message.Data)
	return nil
}

func (o *Outbox) hasRoom(message Message) bool {
	fits := len(o.waiting) < o.bounds.MaxMessages && o.bytes+len(message.Data) <= o.bounds.MaxBytes
	return fits || len(o.waiting) == 0
}

// Close discards what waits.
func (o *Outbox) Close(_ context.Context, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end(reason)
}

// end keeps the first reason. The caller holds the lock.
func (o *Outbox) end(reason string) {
	if !o.ended {
		o.ended, o.reason = true, reason
		o.waiting, o.bytes = nil, 0
	}
}

// Taken is what Take found. Lost counts what overflow has cost since the last Take.
type Taken struct {
	Messages []string
	Lost     int
	Ended    bool
	Reason   string
}

// Take returns the oldest messages, maxBytes of them at most or a single larger one, and never waits.
func (o *Outbox) Take(maxBytes int) Taken {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := Taken{Lost: o.lost, Ended: o.ended, Reason: o.reason}
	o.lost = 0
	size := 0
	for _, message := range o.waiting {
		size += len(message.Data)
		if size > maxBytes && len(taken.Messages) > 0 {
			break
		}
		o.bytes -= len(message.Data)
		taken.Messages = append(taken.Messages, message.Data)
	}
	o.waiting = o.waiting[len(taken.Messages):]
	return taken
}
