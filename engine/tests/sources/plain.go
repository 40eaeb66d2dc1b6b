// What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
package main

import (
	"time"

	laterna "github.com/laterna/laterna/plugins/sdk/go"
)

// Seen is what is read of an event, and what it does to its row.
type Seen struct {
	CustomerID int64           `laterna:"customer_id,key" json:"customer_id"`
	AtMillis   *int64          `json:"at_ms"`
	At         *time.Time      `laterna:"at" json:"-"`
	Total      laterna.Decimal `laterna:"total" json:"total"`
	Events     int64           `laterna:"events,add" json:"-"`
}

var (
	rows    = laterna.NewTable[Seen]("plain", laterna.Serial)
	setSeen = laterna.Upsert[Seen](rows)
)

func init() { laterna.Projection("plain", 1, apply, laterna.Topic("orders")) }

func main() {}

func apply(event *laterna.Event, changes *laterna.Changes) error {
	if event.Tombstone() {
		return nil // it names no row here
	}
	it := Seen{Events: 1}
	if err := event.JSON(&it); err != nil {
		return err
	}
	if it.AtMillis != nil {
		instant := time.UnixMilli(*it.AtMillis)
		it.At = &instant
	}
	setSeen.Put(changes, it)
	return nil
}
