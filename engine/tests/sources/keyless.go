// What the topic `orders` says: one row an event, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
package main

import (
	laterna "github.com/laterna/laterna/plugins/sdk/go"
)

// Seen is what is read of an event, and what it does to its row.
type Seen struct {
	PartitionNumber int64  `laterna:"partition_number,key" json:"-"`
	EventOffset     int64  `laterna:"event_offset,key" json:"-"`
	Level           string `laterna:"level" json:"level"`
	Text            string `laterna:"text" json:"text"`
	Events          int64  `laterna:"events,add" json:"-"`
}

var (
	rows    = laterna.NewTable[Seen]("keyless")
	setSeen = laterna.Upsert[Seen](rows)
)

func init() { laterna.Projection("keyless", 1, apply, laterna.Topic("orders")) }

func main() {}

func apply(event *laterna.Event, changes *laterna.Changes) error {
	if event.Tombstone() {
		return nil // it names no row here
	}
	it := Seen{PartitionNumber: int64(event.Partition), EventOffset: event.Offset, Events: 1}
	if err := event.JSON(&it); err != nil {
		return err
	}
	setSeen.Put(changes, it)
	return nil
}
