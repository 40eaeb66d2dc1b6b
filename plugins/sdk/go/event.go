package laterna

import (
	"time"
	"unicode/utf8"
)

// An Event is one record of a topic.
type Event struct {
	// Topic is the name of the topic.
	Topic string
	// Partition is the number of the partition, from 0.
	Partition int32
	// Offset is the position in the partition, from 0 to 2^53 - 1. Neighbours may be further than 1 apart.
	Offset int64
	// TimestampMillis is the record's timestamp in milliseconds since 1970, -1 where it has none.
	TimestampMillis int64
	// Key is the key's bytes; nil where the record has none.
	Key []byte
	// Value is the value's bytes; nil for a tombstone.
	Value []byte
	// Headers are those that the topic asks for, in the record's order.
	Headers []Header

	keyIsText, valueIsText bool // the engine has checked it
}

// A Header of a record. Names may repeat.
type Header struct {
	Name string
	// Value is nil for a null value, which is not an empty one.
	Value []byte
}

// Tombstone says whether the event has no value: what its key names is gone.
func (e *Event) Tombstone() bool { return e.Value == nil }

// Timestamp is the record's timestamp, the zero time where it has none.
func (e *Event) Timestamp() time.Time {
	if e.TimestampMillis < 0 {
		return time.Time{}
	}
	return time.UnixMilli(e.TimestampMillis).UTC()
}

// KeyText is the key as text. An error where there is none, or it is not UTF-8.
func (e *Event) KeyText() (string, error) {
	if e.Key == nil {
		return "", Reject("the event has no key")
	}
	if !e.keyIsText && !utf8.Valid(e.Key) {
		return "", Reject("the key is not UTF-8 text (%d bytes)", len(e.Key))
	}
	return textOf(e.Key), nil
}

// Text is the value as text. An error where the event is a tombstone, or the value is not UTF-8.
func (e *Event) Text() (string, error) {
	if e.Value == nil {
		return "", Reject("the event has no value: it is a tombstone")
	}
	if !e.valueIsText && !utf8.Valid(e.Value) {
		return "", Reject("the value is not UTF-8 text (%d bytes)", len(e.Value))
	}
	return textOf(e.Value), nil
}

// JSON reads the value into the struct, or other value, that target points to: see [Unmarshal].
func (e *Event) JSON(target any) error {
	text, err := e.Text()
	if err != nil {
		return err
	}
	return Unmarshal(text, target)
}

// Header is the value of the last header of this name; nil where there is none or its value is null.
func (e *Event) Header(name string) []byte {
	for i := len(e.Headers) - 1; i >= 0; i-- {
		if e.Headers[i].Name == name {
			return e.Headers[i].Value
		}
	}
	return nil
}

// Apply runs the projection on one event, as the engine does, and gives its changes for tests: each a map from column to
// value, with "" for the change's table and what it does, as in "orders upsert". Integers are int64, instants and days
// text.
func Apply(event *Event) ([]map[string]any, error) {
	var changes Changes
	if err := applyTo(event, &changes); err != nil {
		return nil, err
	}
	rows := make([]map[string]any, 0, len(changes.list))
	for _, change := range changes.list {
		s := projection.changes[change.shape]
		row := map[string]any{"": s.table.name + " " + [...]string{"upsert", "update", "insert", "delete", "delete_prefix"}[s.action]}
		for i, v := range changes.values[change.first:change.last] {
			row[s.columns()[i].column] = v.show()
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func applyTo(event *Event, changes *Changes) error {
	if projection.apply == nil {
		panic("laterna: no projection: call laterna.Projection in an init function")
	}
	if err := projection.apply(event, changes); err != nil {
		return err
	}
	return changes.err
}
