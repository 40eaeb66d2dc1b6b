// Package laterna makes projections in Go and TinyGo.
//
// A projection is a function from an event to the changes that it asks for. Tables and changes are declared once, as
// structs whose fields are columns:
//
//	type Customer struct {
//		ID     string          `laterna:"customer_id,key"`
//		Orders int64           `laterna:"orders,add"`
//		Spent  laterna.Decimal `laterna:"spent,add"`
//	}
//
//	var customers = laterna.NewTable[Customer]("customers", laterna.Commutative)
//	var ordered = laterna.Upsert[Customer](customers)
//
//	func init() { laterna.Projection("customers", 1, apply, laterna.Topic("orders")) }
//
// A tag is the column's name, then "key", "null", or what an upsert or update does with the value: "add", "max", "min",
// "set_if_null", "newer"; without a word it is set. Columns are bool, int32, int64, float64, Decimal, string, []byte,
// time.Time, Date, UUID and json.RawMessage; a pointer to one, or one with "null" that can be nil, takes NULL.
//
// An instance lives for one batch of events, as many as there happen to be: keep nothing in variables.
package laterna

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unsafe"
)

// ApplyFunc adds to changes what event asks for. An error is the event's fault, which the engine parks, unless it is of
// [Halt].
type ApplyFunc func(event *Event, changes *Changes) error

// A Source is a topic that the projection reads: see [Topic].
type Source struct {
	name                   string
	binaryKey, binaryValue bool
	headers                []string
}

// Topic is a topic by name; its keys and values come as text, without headers, unless it says otherwise.
func Topic(name string) Source { return Source{name: name} }

// Headers asks for headers by name: others are not handed over, because each costs time.
func (s Source) Headers(names ...string) Source { s.headers = names; return s }

// BinaryKey says that keys are never checked for being text.
func (s Source) BinaryKey() Source { s.binaryKey = true; return s }

// BinaryValue says that values are binary, like Avro or Protobuf: never checked for being text.
func (s Source) BinaryValue() Source { s.binaryValue = true; return s }

// What the package's one projection is. Filled before main, and read only afterwards.
var projection struct {
	name     string
	revision uint32
	topics   []Source
	tables   []*Table
	changes  []*shape
	apply    ApplyFunc
}

// Projection declares the projection, once, in an init function. Raise revision when the meaning of the rows changes, so
// that they are rebuilt.
func Projection(name string, revision uint32, apply ApplyFunc, topics ...Source) {
	if projection.apply != nil {
		panic("laterna: Projection is called twice")
	}
	projection.name, projection.revision, projection.apply, projection.topics = name, revision, apply, topics
}

type haltError struct{ reason string }

func (e *haltError) Error() string { return e.reason }

// Halt is the error of a projection that must not go on. Its checkpoint stays at this event.
func Halt(format string, arguments ...any) error {
	return &haltError{fmt.Sprintf(format, arguments...)}
}

// Reject is an error with a formatted reason: this event is at fault. Any other error does as well.
func Reject(format string, arguments ...any) error {
	return errors.New(fmt.Sprintf(format, arguments...))
}

// ---- Tables ----

// The types of columns, in the contract's order. A value's case is one more than its type; 0 is NULL.
const (
	typeBoolean = iota
	typeInteger
	typeFloat
	typeDecimal
	typeText
	typeBytes
	typeTimestamp
	typeDate
	typeUUID
	typeJSON
)

var typeNames = [...]string{"boolean", "integer", "float", "decimal", "text", "bytes", "timestamp", "date", "uuid", "json"}

// A Table of the read model: see [NewTable].
type Table struct {
	name         string
	row          reflect.Type
	partitioning uint8
	indexes      []index
	fields       []field // read from row when first asked for
}

type index struct {
	columns []string
	words   bool
}

// An Option of a table.
type Option func(*Table)

// Ordered is an index for equality, ranges and order.
func Ordered(columns ...string) Option {
	return func(t *Table) { t.indexes = append(t.indexes, index{columns: columns}) }
}

// FullText is an index over words.
func FullText(columns ...string) Option {
	return func(t *Table) { t.indexes = append(t.indexes, index{columns: columns, words: true}) }
}

// Commutative says that rows are shared between partitions, and changed by add, max and min, or under newer, only.
func Commutative(t *Table) { t.partitioning = 1 }

// Serial says that rows are shared between partitions in any other way: one writer for the whole projection.
func Serial(t *Table) { t.partitioning = 2 }

// NewTable declares a table, whose columns are the tagged fields of Row. Unless it is [Commutative] or [Serial], each row is
// only ever changed by events of one partition.
func NewTable[Row any](name string, options ...Option) *Table {
	t := &Table{name: name, row: reflect.TypeFor[Row]()}
	for _, option := range options {
		option(t)
	}
	projection.tables = append(projection.tables, t)
	return t
}

func (t *Table) columns() []field {
	if t.fields == nil {
		t.fields = fieldsOf(t.row, "table "+t.name)
		for _, index := range t.indexes {
			for _, column := range index.columns {
				if find(t.fields, column) == nil {
					panic(fmt.Sprintf("laterna: table %s: an index names the column %q, which %s does not have", t.name, column, t.row.Name()))
				}
			}
		}
	}
	return t.fields
}

// A field is a column in a struct.
type field struct {
	column, word string
	offset       uintptr
	kind         uint8
	small        bool // an int32
	key          bool
	pointer      bool // nil is NULL
	null         bool // the column takes NULL
}

var timeType, dateType, uuidType = reflect.TypeFor[time.Time](), reflect.TypeFor[Date](), reflect.TypeFor[UUID]()
var decimalType, rawType, bytesType = reflect.TypeFor[Decimal](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[[]byte]()

func kindOf(t reflect.Type) (kind uint8, small, known bool) {
	switch t {
	case timeType:
		return typeTimestamp, false, true
	case dateType:
		return typeDate, false, true
	case uuidType:
		return typeUUID, false, true
	case decimalType:
		return typeDecimal, false, true
	case rawType:
		return typeJSON, false, true
	case bytesType:
		return typeBytes, false, true
	}
	switch t.Kind() {
	case reflect.Bool:
		return typeBoolean, false, true
	case reflect.Int64:
		return typeInteger, false, true
	case reflect.Int32:
		return typeInteger, true, true
	case reflect.Float64:
		return typeFloat, false, true
	case reflect.String:
		return typeText, false, true
	}
	return 0, false, false
}

// fieldsOf reads the tags of a struct, the key's columns first. It panics where a tag has no meaning: when the plugin is
// loaded, and in each test.
func fieldsOf(t reflect.Type, of string) []field {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("laterna: %s: a struct wanted, not %s", of, t))
	}
	var keys, rest []field
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag := f.Tag.Get("laterna")
		if tag == "" || tag == "-" {
			continue
		}
		at := field{offset: f.Offset}
		at.column, at.word, _ = strings.Cut(tag, ",")
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of, at.pointer, at.null = of.Elem(), true, true
		}
		var known bool
		if at.kind, at.small, known = kindOf(of); !known {
			panic(fmt.Sprintf("laterna: %s.%s: %s is not the type of a column; it is bool, int32, int64 (int has 32 bits in TinyGo), float64, laterna.Decimal, string, []byte, time.Time, laterna.Date, laterna.UUID, json.RawMessage, or a pointer to one of these", t.Name(), f.Name, f.Type))
		}
		switch at.word {
		case "", "set", "add", "max", "min", "set_if_null", "newer":
		case "key":
			at.key = true
			if at.null {
				panic(fmt.Sprintf("laterna: %s.%s: a key has no NULL", t.Name(), f.Name))
			}
		case "null":
			if at.kind != typeBytes && at.kind != typeJSON {
				panic(fmt.Sprintf("laterna: %s.%s: \"null\" is for []byte and json.RawMessage; elsewhere use a pointer", t.Name(), f.Name))
			}
			at.null, at.word = true, ""
		default:
			panic(fmt.Sprintf("laterna: %s.%s: unknown word %q in its tag; known: key, null, set, add, max, min, set_if_null, newer", t.Name(), f.Name, at.word))
		}
		if at.key {
			keys = append(keys, at)
		} else {
			rest = append(rest, at)
		}
	}
	if len(keys) == 0 {
		panic(fmt.Sprintf("laterna: %s: %s has no key: tag a field `laterna:\"name,key\"`", of, t.Name()))
	}
	return append(keys, rest...)
}

func find(fields []field, column string) *field {
	for i := range fields {
		if fields[i].column == column {
			return &fields[i]
		}
	}
	return nil
}

// ---- Changes ----

// The contract's actions.
const (
	actionUpsert = iota
	actionUpdate
	actionInsert
	actionDelete
	actionDeletePrefix
)

type shape struct {
	table  *Table
	row    reflect.Type
	action uint8
	number uint32
	fields []field // read when first asked for
}

// A Change is a kind of change in a table, made of a Row.
type Change[Row any] struct{ shape *shape }

func declare[Row any](table *Table, action uint8) Change[Row] {
	s := &shape{table: table, row: reflect.TypeFor[Row](), action: action, number: uint32(len(projection.changes))}
	projection.changes = append(projection.changes, s)
	return Change[Row]{s}
}

// Upsert inserts the row, or combines it with the stored one. Row has every column that takes no NULL.
func Upsert[Row any](table *Table) Change[Row] { return declare[Row](table, actionUpsert) }

// Update combines with the stored row; nothing where there is none.
func Update[Row any](table *Table) Change[Row] { return declare[Row](table, actionUpdate) }

// Insert inserts the row; nothing where there is one. Row has every column that takes no NULL.
func Insert[Row any](table *Table) Change[Row] { return declare[Row](table, actionInsert) }

// Delete deletes the row. Key has the columns of the key.
func Delete[Key any](table *Table) Change[Key] { return declare[Key](table, actionDelete) }

// DeletePrefix deletes all rows under the leading columns of the key, which are those of Key.
func DeletePrefix[Key any](table *Table) Change[Key] { return declare[Key](table, actionDeletePrefix) }

// columns are the fields in the order of the contract: the key in the table's order, then the rest. What does not go with
// the table panics.
func (s *shape) columns() []field {
	if s.fields != nil {
		return s.fields
	}
	table, fields := s.table.columns(), fieldsOf(s.row, "a change of table "+s.table.name)
	fault := func(format string, arguments ...any) {
		panic(fmt.Sprintf("laterna: %s, a change of table %s: ", s.row.Name(), s.table.name) + fmt.Sprintf(format, arguments...))
	}
	keys, wanted := 0, 0
	for i := range fields {
		f := &fields[i]
		column := find(table, f.column)
		switch {
		case column == nil:
			fault("the table has no column %q", f.column)
		case column.kind != f.kind:
			fault("%s is %s here and %s in the table", f.column, typeNames[f.kind], typeNames[column.kind])
		case column.key != f.key:
			fault("%s is part of the key in only one of them", f.column)
		case f.null && !column.null:
			fault("%s may be NULL here, but not in the table", f.column)
		case f.word == "add" && f.kind != typeInteger && f.kind != typeFloat && f.kind != typeDecimal:
			fault("%s: add is for integer, float and decimal", f.column)
		case (f.word == "max" || f.word == "min" || f.word == "newer") && (f.kind == typeBoolean || f.kind == typeBytes || f.kind == typeJSON):
			fault("%s: %s is not for %s", f.column, f.word, typeNames[f.kind])
		case f.key && table[keys].column != f.column:
			fault("the key's columns in the table's order are wanted: %s", table[keys].column)
		}
		if f.key {
			keys++
		}
	}
	for i := range table {
		if table[i].key {
			wanted++
		}
	}
	if s.action >= actionDelete && len(fields) > keys {
		fault("it deletes, so it has columns of the key only, not %s", fields[keys].column)
	}
	if s.action != actionDeletePrefix && keys < wanted {
		fault("the key's column %s is missing", table[keys].column)
	}
	if s.action == actionUpsert || s.action == actionInsert {
		for i := range table {
			if column := &table[i]; !column.null && find(fields, column.column) == nil {
				fault("a new row needs %s, which takes no NULL", column.column)
			}
		}
	}
	s.fields = fields
	return fields
}

// A value of a column: kind is 0 for NULL, else its type plus 1. It is read from the author's struct, and lowered at the
// end of the batch.
type value struct {
	kind uint8
	bits uint64 // integer, float, timestamp, date, boolean
	text string // all others
}

type change struct {
	shape       uint32
	first, last int // in Changes.values
}

// Changes are what one event asks for, in the order in which they take effect.
type Changes struct {
	list   []change
	values []value
	err    error
}

// Put adds a change.
func (c Change[Row]) Put(changes *Changes, row Row) {
	changes.put(c.shape, unsafe.Pointer(&row))
}

// Len is how many changes there are so far.
func (c *Changes) Len() int { return len(c.list) }

func (c *Changes) put(s *shape, row unsafe.Pointer) {
	fields := s.columns()
	first := len(c.values)
	for i := range fields {
		f := &fields[i]
		c.values = append(c.values, value{})
		if err := f.read(unsafe.Add(row, f.offset), &c.values[len(c.values)-1]); err != nil && c.err == nil {
			c.err = fmt.Errorf("%s.%s: %w", s.table.name, f.column, err)
		}
	}
	c.list = append(c.list, change{s.number, first, len(c.values)})
}

var errFar = errors.New("too far off for microseconds since 1970")

func (f *field) read(at unsafe.Pointer, v *value) error {
	if f.pointer {
		if at = *(*unsafe.Pointer)(at); at == nil {
			return nil
		}
	}
	v.kind = f.kind + 1
	switch f.kind {
	case typeBoolean:
		if *(*bool)(at) {
			v.bits = 1
		}
	case typeInteger:
		if f.small {
			v.bits = uint64(int64(*(*int32)(at)))
		} else {
			v.bits = *(*uint64)(at)
		}
	case typeFloat:
		v.bits = *(*uint64)(at)
	case typeDecimal:
		v.text = (*Decimal)(at).String()
	case typeText:
		v.text = *(*string)(at)
	case typeBytes, typeJSON:
		bytes := *(*[]byte)(at)
		if bytes == nil && f.null {
			v.kind = 0
			return nil
		}
		v.text = unsafe.String(unsafe.SliceData(bytes), len(bytes))
	case typeTimestamp:
		t := (*time.Time)(at)
		// 2^63 microseconds.
		if seconds := t.Unix(); seconds < -9223372036854 || seconds > 9223372036853 {
			return errFar
		}
		v.bits = uint64(t.UnixMicro())
	case typeDate:
		v.bits = uint64(uint32(*(*Date)(at)))
	case typeUUID:
		v.text = (*UUID)(at).String()
	}
	return nil
}

// textual says whether the value is its text.
func (v *value) textual() bool {
	switch v.kind {
	case typeDecimal + 1, typeText + 1, typeBytes + 1, typeUUID + 1, typeJSON + 1:
		return true
	}
	return false
}

func asHalt(err error) (string, bool) {
	var halt *haltError
	if errors.As(err, &halt) {
		return err.Error(), true
	}
	return "", false
}
