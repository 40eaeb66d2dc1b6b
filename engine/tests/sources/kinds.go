// What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
package main

import (
	"encoding/json"
	"time"

	laterna "github.com/laterna/laterna/plugins/sdk/go"
)

// Row is a row of the table.
type Row struct {
	OrderID    string           `laterna:"order_id,key"`
	At         *time.Time       `laterna:"at"`
	Big        *int64           `laterna:"big"`
	ClassValue *string          `laterna:"class_value"`
	Day        *laterna.Date    `laterna:"day"`
	ID         *laterna.UUID    `laterna:"id"`
	Items      json.RawMessage  `laterna:"items,null"`
	N          int64            `laterna:"n"`
	Note       *string          `laterna:"note"`
	Paid       *bool            `laterna:"paid"`
	PlacedAt   *time.Time       `laterna:"placed_at"`
	Ratio      *float64         `laterna:"ratio"`
	Total      *laterna.Decimal `laterna:"total"`
	X          *string          `laterna:"x"`
	Events     int64            `laterna:"events"`
}

// OrderPlaced is what is read of an event "order.placed", and what it does to its row.
type OrderPlaced struct {
	OrderID        string          `laterna:"order_id,key" json:"-"`
	At             time.Time       `laterna:"at" json:"at"`
	Big            int64           `laterna:"big" json:"big"`
	ClassValue     string          `laterna:"class_value" json:"class"`
	Day            laterna.Date    `laterna:"day" json:"day"`
	ID             laterna.UUID    `laterna:"id" json:"id"`
	Items          json.RawMessage `laterna:"items" json:"items"`
	N              int64           `laterna:"n" json:"n"`
	Note           *string         `laterna:"note" json:"note"`
	Paid           bool            `laterna:"paid" json:"paid"`
	PlacedAtMillis int64           `json:"placed_at_ms"`
	PlacedAt       time.Time       `laterna:"placed_at" json:"-"`
	Ratio          float64         `laterna:"ratio" json:"ratio"`
	Total          laterna.Decimal `laterna:"total" json:"total"`
	X              string          `laterna:"x" json:"é \"x\""`
	Events         int64           `laterna:"events,add" json:"-"`
}

// OrderCancelled is what is read of an event "order.cancelled", and what it does to its row.
type OrderCancelled struct {
	OrderID string `laterna:"order_id,key" json:"-"`
	N       int64  `laterna:"n" json:"n"`
	Note    string `laterna:"note" json:"note"`
	Events  int64  `laterna:"events,add" json:"-"`
}

// Gone is the key of a row that a tombstone deletes.
type Gone struct {
	OrderID string `laterna:"order_id,key"`
}

var (
	rows              = laterna.NewTable[Row]("kinds")
	setOrderPlaced    = laterna.Upsert[OrderPlaced](rows)
	setOrderCancelled = laterna.Upsert[OrderCancelled](rows)
	setGone           = laterna.Delete[Gone](rows)
)

func init() { laterna.Projection("kinds", 1, apply, laterna.Topic("orders")) }

func main() {}

func apply(event *laterna.Event, changes *laterna.Changes) error {
	key, err := event.KeyText()
	if err != nil {
		return err
	}
	if event.Tombstone() {
		setGone.Put(changes, Gone{key})
		return nil
	}
	var incoming struct {
		Kind string `json:"type"`
	}
	if err := event.JSON(&incoming); err != nil {
		return err
	}
	switch incoming.Kind {
	case "order.placed":
		it := OrderPlaced{OrderID: key, Events: 1}
		if err := event.JSON(&it); err != nil {
			return err
		}
		it.PlacedAt = time.UnixMilli(it.PlacedAtMillis)
		setOrderPlaced.Put(changes, it)
	case "order.cancelled":
		it := OrderCancelled{OrderID: key, Events: 1}
		if err := event.JSON(&it); err != nil {
			return err
		}
		setOrderCancelled.Put(changes, it)
	}
	return nil
}
