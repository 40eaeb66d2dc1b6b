// Orders and their items, as they stand: what a shop's order page reads.
//
// An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.
package main

import (
	"time"

	laterna "github.com/laterna/laterna/plugins/sdk/go"
)

// Order is an order as it stands.
type Order struct {
	ID         string          `laterna:"order_id,key"`
	CustomerID *string         `laterna:"customer_id"`
	Status     string          `laterna:"status"`
	ItemCount  int64           `laterna:"item_count"`
	Total      laterna.Decimal `laterna:"total"`
	PlacedAt   time.Time       `laterna:"placed_at"`
	LastOffset int64           `laterna:"last_offset,max"`
}

// Cancelled is what a cancellation changes in it.
type Cancelled struct {
	ID         string `laterna:"order_id,key"`
	Status     string `laterna:"status"`
	LastOffset int64  `laterna:"last_offset,max"`
}

// Item is a line of an order, from 0.
type Item struct {
	OrderID   string          `laterna:"order_id,key"`
	Line      int64           `laterna:"line,key"`
	Sku       string          `laterna:"sku"`
	Quantity  int64           `laterna:"quantity"`
	UnitPrice laterna.Decimal `laterna:"unit_price"`
}

// OrderID is the key of an order, and what all of its items have in common.
type OrderID struct {
	ID string `laterna:"order_id,key"`
}

var (
	orders      = laterna.NewTable[Order]("orders", laterna.Ordered("customer_id", "placed_at"))
	orderItems  = laterna.NewTable[Item]("order_items")
	order       = laterna.Upsert[Order](orders)
	cancelled   = laterna.Update[Cancelled](orders)
	orderErased = laterna.Delete[OrderID](orders)
	item        = laterna.Upsert[Item](orderItems)
	itemsErased = laterna.DeletePrefix[OrderID](orderItems)
)

func init() { laterna.Projection("order_summary", 1, apply, laterna.Topic("orders")) }

func main() {}

func apply(event *laterna.Event, changes *laterna.Changes) error {
	if event.Tombstone() {
		id, err := event.KeyText()
		orderErased.Put(changes, OrderID{id})
		itemsErased.Put(changes, OrderID{id})
		return err
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := event.JSON(&kind); err != nil {
		return err
	}
	switch kind.Type {
	case "order.placed":
		return stands(event, changes, "placed")
	case "order.updated":
		return stands(event, changes, "updated")
	case "order.cancelled":
		var e struct {
			OrderID string `json:"order_id"`
		}
		err := event.JSON(&e)
		cancelled.Put(changes, Cancelled{e.OrderID, "cancelled", event.Offset})
		return err
	}
	return nil
}

func stands(event *laterna.Event, changes *laterna.Changes, status string) error {
	var e struct {
		OrderID    string  `json:"order_id"`
		CustomerID *string `json:"customer_id"`
		PlacedAtMs int64   `json:"placed_at_ms"`
		Items      []struct {
			Sku       string          `json:"sku"`
			Quantity  int64           `json:"quantity"`
			UnitPrice laterna.Decimal `json:"unit_price"`
		} `json:"items"`
	}
	if err := event.JSON(&e); err != nil {
		return err
	}
	var count int64
	var total laterna.Decimal
	for _, it := range e.Items {
		price, err := it.UnitPrice.Times(it.Quantity)
		if err != nil {
			return err
		}
		if total, err = total.Plus(price); err != nil {
			return err
		}
		if sum := count + it.Quantity; (sum > count) != (it.Quantity > 0) && it.Quantity != 0 {
			return laterna.Reject("too many items")
		}
		count += it.Quantity
	}
	order.Put(changes, Order{e.OrderID, e.CustomerID, status, count, total, time.UnixMilli(e.PlacedAtMs), event.Offset})
	itemsErased.Put(changes, OrderID{e.OrderID})
	for line, it := range e.Items {
		item.Put(changes, Item{e.OrderID, int64(line), it.Sku, it.Quantity, it.UnitPrice})
	}
	return nil
}
