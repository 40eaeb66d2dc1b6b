// Keeps the last value of each key of {{topic}}, and how many events it has had.
package main

import (
	"encoding/json"

	laterna "github.com/laterna/laterna/plugins/sdk/go"
)

type Record struct {
	Key        string          `laterna:"key,key"`
	Value      json.RawMessage `laterna:"value"`
	LastOffset int64           `laterna:"last_offset,max"`
}

type Count struct {
	Key    string `laterna:"key,key"`
	Events int64  `laterna:"events,add"`
}

type Key struct {
	Key string `laterna:"key,key"`
}

var (
	records      = laterna.NewTable[Record]("records")
	record       = laterna.Upsert[Record](records)
	recordErased = laterna.Delete[Key](records)
	counts       = laterna.NewTable[Count]("counts")
	counted      = laterna.Upsert[Count](counts)
)

func init() { laterna.Projection("{{name}}", 1, apply, laterna.Topic("{{topic}}")) }

func main() {}

func apply(event *laterna.Event, changes *laterna.Changes) error {
	key, err := event.KeyText()
	if err != nil {
		return err
	}
	counted.Put(changes, Count{key, 1})
	if event.Tombstone() {
		recordErased.Put(changes, Key{key})
		return nil
	}
	var value json.RawMessage
	if err := event.JSON(&value); err != nil {
		return err
	}
	if value[0] != '{' {
		return laterna.Reject("the value is no JSON object")
	}
	record.Put(changes, Record{key, value, event.Offset})
	return nil
}
