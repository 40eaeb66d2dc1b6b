// order_summary on the contract's ABI, without the SDK: what the SDK is measured against (tests/languages/run), in Go and in TinyGo.
//
// No generator of Go bindings can be had from Go's registry, so what one would generate is written by hand, for what this projection needs.
// The SDK's JSON reader and decimals are taken, as the reader is not what is compared; nothing else of it is.
package main

import (
	"errors"
	"math"
	"unsafe"

	"order_summary/laterna"
)

// ---- The canonical ABI: an address has 32 bits, and what it points to is kept alive by Go values beside it ----

type list struct{ at, size uint32 }

type payload struct {
	some, tag uint32 // one byte and padding each
	text      list
}

type event struct {
	offset, timestamp int64
	key, value        payload
	headers           list
}

type value struct{ tag, bits uint64 }

type change struct {
	shape  uint32
	values list
}

type outcome struct {
	tag  uint32 // 0: changes, 1: reject
	list list
}

const (
	null      = 0
	integer   = 2
	decimal   = 4
	text      = 5
	timestamp = 7
)

const (
	order = iota
	cancelled
	orderErased
	item
	itemsErased
)

var (
	// What the host has filled, and what it is reading.
	given [][]uint64
	kept  answer
	// The descriptor's records.
	described []any
)

type answer struct {
	result   list
	outcomes []outcome
	changes  [][]change
	values   [][]value
	texts    []string
}

func address[T any](p *T) uint32 { return uint32(uintptr(unsafe.Pointer(p))) }

func at(address uint32) unsafe.Pointer {
	wide := uintptr(address)
	return *(*unsafe.Pointer)(unsafe.Pointer(&wide))
}

func listOf[T any](items []T) list {
	if len(items) == 0 {
		return list{8, 0}
	}
	return list{address(unsafe.SliceData(items)), uint32(len(items))}
}

func (l list) text() string { return unsafe.String((*byte)(at(l.at)), l.size) }

//go:wasmexport cabi_realloc
func realloc(old, oldSize, _, size uint32) uint32 {
	piece := make([]uint64, max(1, (size+7)/8))
	given = append(given, piece)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&piece[0])), size), unsafe.Slice((*byte)(at(old)), oldSize))
	}
	return address(&piece[0])
}

// ---- The projection ----

func (a *answer) text(kind uint64, s string) value {
	a.texts = append(a.texts, s)
	l := listOf(unsafe.Slice(unsafe.StringData(s), len(s)))
	return value{kind, uint64(l.at) | uint64(l.size)<<32}
}

func (a *answer) change(shape uint32, values ...value) change {
	a.values = append(a.values, values)
	return change{shape, listOf(values)}
}

func whole(number int64) value { return value{integer, uint64(number)} }

func (a *answer) apply(e *event) ([]change, error) {
	if e.value.some&0xff == 0 {
		if e.key.some&0xff == 0 || e.key.tag&0xff != 0 {
			return nil, errors.New("a tombstone wants a key of text")
		}
		id := a.text(text, e.key.text.text())
		return []change{a.change(orderErased, id), a.change(itemsErased, id)}, nil
	}
	if e.value.tag&0xff != 0 {
		return nil, errors.New("the value is not UTF-8 text")
	}
	json := e.value.text.text()
	var kind struct {
		Type string `json:"type"`
	}
	if err := laterna.Unmarshal(json, &kind); err != nil {
		return nil, err
	}
	switch kind.Type {
	case "order.placed":
		return a.stands(e, json, "placed")
	case "order.updated":
		return a.stands(e, json, "updated")
	case "order.cancelled":
		var o struct {
			OrderID string `json:"order_id"`
		}
		err := laterna.Unmarshal(json, &o)
		return []change{a.change(cancelled, a.text(text, o.OrderID), a.text(text, "cancelled"), whole(e.offset))}, err
	}
	return nil, nil
}

func (a *answer) stands(e *event, json, status string) ([]change, error) {
	var o struct {
		OrderID    string  `json:"order_id"`
		CustomerID *string `json:"customer_id"`
		PlacedAtMs int64   `json:"placed_at_ms"`
		Items      []struct {
			Sku       string          `json:"sku"`
			Quantity  int64           `json:"quantity"`
			UnitPrice laterna.Decimal `json:"unit_price"`
		} `json:"items"`
	}
	if err := laterna.Unmarshal(json, &o); err != nil {
		return nil, err
	}
	if o.PlacedAtMs > math.MaxInt64/1000 || o.PlacedAtMs < math.MinInt64/1000 {
		return nil, errors.New("placed_at_ms: too far off")
	}
	var count int64
	var total laterna.Decimal
	for _, it := range o.Items {
		price, err := it.UnitPrice.Times(it.Quantity)
		if err != nil {
			return nil, err
		}
		if total, err = total.Plus(price); err != nil {
			return nil, err
		}
		if sum := count + it.Quantity; (sum > count) != (it.Quantity > 0) && it.Quantity != 0 {
			return nil, errors.New("too many items")
		}
		count += it.Quantity
	}
	id, customer := a.text(text, o.OrderID), value{tag: null}
	if o.CustomerID != nil {
		customer = a.text(text, *o.CustomerID)
	}
	changes := make([]change, 0, 2+len(o.Items))
	changes = append(changes,
		a.change(order, id, customer, a.text(text, status), whole(count), a.text(decimal, total.String()), value{timestamp, uint64(o.PlacedAtMs * 1000)}, whole(e.offset)),
		a.change(itemsErased, id))
	for line, it := range o.Items {
		changes = append(changes, a.change(item, id, whole(int64(line)), a.text(text, it.Sku), whole(it.Quantity), a.text(decimal, it.UnitPrice.String())))
	}
	return changes, nil
}

//go:wasmexport apply
func apply(_, _ uint32, _ int32, eventsAt, count uint32) uint32 {
	events := unsafe.Slice((*event)(at(eventsAt)), count)
	a := &kept
	*a = answer{outcomes: make([]outcome, count)}
	for i := range events {
		changes, err := a.apply(&events[i])
		if err == nil {
			a.changes = append(a.changes, changes)
			a.outcomes[i] = outcome{0, listOf(changes)}
		} else {
			reason := a.text(text, err.Error())
			a.outcomes[i] = outcome{1, list{uint32(reason.bits), uint32(reason.bits >> 32)}}
		}
	}
	a.result = listOf(a.outcomes)
	given = nil
	return address(&a.result)
}

// ---- The descriptor ----

type topicRecord struct {
	name     list
	encoding uint32 // of key and value: both text
	headers  list
}

type columnRecord struct {
	name           list
	kind, nullable uint8
}

type indexRecord struct {
	columns list
	kind    uint32
}

type tableRecord struct {
	name, columns, key, indexes list
	partitioning                uint32
}

type assignmentRecord struct {
	column    list
	operation uint32
}

type shapeRecord struct {
	table  list
	action uint32
	list   list // or, for delete-prefix, a number
}

type descriptorRecord struct {
	name                   list
	revision               uint32
	topics, tables, shapes list
}

func records[T any](items ...T) list {
	described = append(described, items)
	return listOf(items)
}

func name(s string) list { return records([]byte(s)...) }

func column(s string, kind, nullable uint8) columnRecord {
	return columnRecord{name(s), kind - 1, nullable}
}

func set(s string) assignmentRecord { return assignmentRecord{name(s), 0} }

//go:wasmexport describe
func describe() uint32 {
	lastOffset := assignmentRecord{name("last_offset"), 2}
	descriptor := &descriptorRecord{
		name:     name("order_summary"),
		revision: 1,
		topics:   records(topicRecord{name: name("orders"), headers: list{8, 0}}),
		tables: records(
			tableRecord{
				name: name("orders"),
				columns: records(column("order_id", text, 0), column("customer_id", text, 1), column("status", text, 0), column("item_count", integer, 0),
					column("total", decimal, 0), column("placed_at", timestamp, 0), column("last_offset", integer, 0)),
				key:     records(name("order_id")),
				indexes: records(indexRecord{columns: records(name("customer_id"), name("placed_at"))}),
			},
			tableRecord{
				name: name("order_items"),
				columns: records(column("order_id", text, 0), column("line", integer, 0), column("sku", text, 0), column("quantity", integer, 0),
					column("unit_price", decimal, 0)),
				key:     records(name("order_id"), name("line")),
				indexes: list{8, 0},
			}),
		shapes: records(
			shapeRecord{table: name("orders"), action: 0, list: records(set("customer_id"), set("status"), set("item_count"), set("total"), set("placed_at"), lastOffset)},
			shapeRecord{table: name("orders"), action: 1, list: records(set("status"), lastOffset)},
			shapeRecord{table: name("orders"), action: 3},
			shapeRecord{table: name("order_items"), action: 0, list: records(set("sku"), set("quantity"), set("unit_price"))},
			shapeRecord{table: name("order_items"), action: 4, list: list{1, 0}}),
	}
	described = append(described, descriptor)
	return address(descriptor)
}

func main() {}
