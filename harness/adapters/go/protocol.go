package main

import "encoding/json"

// What an adapter reads. What an operation does not have stays nil, so that absent and zero differ.
type request struct {
	Type       string
	ID         int
	Fuel       int
	PatienceMs int `json:"patience_ms"`
	Script     script
}

type script struct {
	Cap   *int
	Sinks []struct{ Rules []rule }
	Steps []op
}

type rule struct {
	On   string
	Nth  int
	Do   []op
	Then string
}

type op struct {
	ID, Registry, Sub, Sink, Ticket, Gate int
	Op, Channel, Data                     string
	Channels                              []string
	Scope, To                             *Identity
	Groups                                []Identity
	Identity                              Identity
	Reason, Overwrite                     *string
	Outbox                                *outbox
	Bytes                                 *int
	Lanes                                 [][]op
}

type outbox struct {
	Messages, Bytes *int
	Overflow        string
}

// bounds that are absent are those of the protocol, and not none.
func (o *outbox) bounds() Bounds {
	return Bounds{or(o.Messages, 1024), or(o.Bytes, 1<<20), o.Overflow}
}

type event map[string]any

// taken says what a take found, in the words of the protocol.
func taken(found Taken) event {
	what := event{"lost": found.Lost}
	if len(found.Messages) > 0 {
		what["messages"] = found.Messages
	}
	if found.Ended {
		what["end"] = found.Reason
	}
	return what
}

// UnmarshalJSON reads a string, or an object with kind and value.
func (i *Identity) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &i.Value)
	}
	i.HasKind = true
	var pair struct{ Kind, Value *string }
	pair.Kind, pair.Value = &i.Kind, &i.Value
	return json.Unmarshal(text, &pair)
}

// or says what an absent number means.
func or(given *int, absent int) int {
	if given == nil {
		return absent
	}
	return *given
}
