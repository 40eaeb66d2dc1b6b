//go:build wasm

package laterna

// The contract's functions, in the component model's canonical ABI: the layout of wit/projection.wit in memory, written
// down once. A pointer there has 32 bits; one in Go on wasm has 64, in TinyGo 32: so records here hold numbers, and what
// they point to is kept alive by Go values beside them. Neither garbage collector moves what is on the heap.

import "unsafe"

type abiText struct{ at, size uint32 }

type abiPayload struct { // option<payload>
	some uint32 // one byte and padding
	tag  uint32 // 0: text, 1: bytes
	abiText
}

type abiEvent struct {
	offset, timestamp int64
	key, value        abiPayload
	headers           abiText
}

type abiHeader struct {
	name  abiText
	value abiPayload
}

type abiValue struct {
	tag  uint64 // one byte and padding
	bits uint64 // the number, or the text's address and, above, its size
}

type abiChange struct {
	shape  uint32
	values abiText
}

type abiOutcome struct {
	tag uint32 // 0: changes, 1: reject, 2: halt
	abiText
}

//go:wasmimport laterna:projection/log@0.1.0 write
func logWrite(level int32, at, size uint32)

func writeLog(level int32, line string) {
	text := lowerText(line)
	logWrite(level, text.at, text.size)
	kept = line
}

// What the host has asked for since the last answer, and what it is reading now.
var (
	given []uint64
	kept  any
)

//go:wasmexport cabi_realloc
func cabiRealloc(old, oldSize, _, size uint32) uint32 {
	words := int(size+7) / 8
	if words > len(given) {
		given = make([]uint64, max(words, 4096))
		held = append(held, given)
	}
	piece := given[:words:words]
	given = given[words:]
	at := address(unsafe.Pointer(unsafe.SliceData(piece)))
	if oldSize > 0 {
		copy(lift(at, size), lift(old, min(oldSize, size)))
	}
	return at
}

// Keeps what the host fills alive until the events refer to it.
var held [][]uint64

func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

func lift(at, size uint32) []byte {
	if size == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(pointer(at)), size)
}

func pointer(at uint32) unsafe.Pointer {
	address := uintptr(at)
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}

func lowerText(text string) abiText {
	if len(text) == 0 {
		return abiText{8, 0}
	}
	return abiText{address(unsafe.Pointer(unsafe.StringData(text))), uint32(len(text))}
}

func lowerList[T any](list []T) abiText {
	if len(list) == 0 {
		return abiText{8, 0}
	}
	return abiText{address(unsafe.Pointer(unsafe.SliceData(list))), uint32(len(list))}
}

func liftPayload(p *abiPayload) ([]byte, bool) {
	if p.some&0xff == 0 {
		return nil, false
	}
	return lift(p.at, p.size), p.tag&0xff == 0
}

// A stock gives out pieces of long slices: a batch takes few of them, and neither garbage collector is quick with many small ones.
type stock[T any] struct {
	free []T
	all  [][]T
}

func (s *stock[T]) take(count int) []T {
	if count > len(s.free) {
		s.free = make([]T, max(count, 1024))
		s.all = append(s.all, s.free)
	}
	piece := s.free[:count:count]
	s.free = s.free[count:]
	return piece
}

type answer struct {
	result   abiText
	outcomes []abiOutcome
	changes  stock[abiChange]
	values   stock[abiValue]
	texts    []string // what values and reasons point to
	// Of the event that is being applied; the next one has them after it.
	event   Event
	pending Changes
}

//go:wasmexport apply
func apply(topicAt, topicSize uint32, partition int32, eventsAt, count uint32) uint32 {
	events := unsafe.Slice((*abiEvent)(pointer(eventsAt)), count)
	topic := textOf(lift(topicAt, topicSize))
	a := &answer{outcomes: make([]abiOutcome, count)}
	for i := range events {
		a.outcomes[i] = a.one(topic, partition, &events[i])
	}
	a.result = lowerList(a.outcomes)
	kept, held, given = a, nil, nil
	return address(unsafe.Pointer(&a.result))
}

func (a *answer) one(topic string, partition int32, from *abiEvent) abiOutcome {
	event, changes := &a.event, &a.pending
	*event = Event{Topic: topic, Partition: partition, Offset: from.offset, TimestampMillis: from.timestamp}
	*changes = Changes{list: changes.list[:0], values: changes.values[:0]}
	event.Key, event.keyIsText = liftPayload(&from.key)
	event.Value, event.valueIsText = liftPayload(&from.value)
	if from.headers.size > 0 {
		for _, header := range unsafe.Slice((*abiHeader)(pointer(from.headers.at)), from.headers.size) {
			value, _ := liftPayload(&header.value)
			event.Headers = append(event.Headers, Header{textOf(lift(header.name.at, header.name.size)), value})
		}
	}
	if err := applyTo(event, changes); err != nil {
		tag, reason := uint32(1), err.Error()
		if halt, known := asHalt(err); known {
			tag, reason = 2, halt
		}
		a.texts = append(a.texts, reason)
		return abiOutcome{tag, lowerText(reason)}
	}
	values := a.values.take(len(changes.values))
	for i := range changes.values {
		v := &changes.values[i]
		values[i] = abiValue{uint64(v.kind), v.bits}
		if v.textual() {
			text := lowerText(v.text)
			a.texts = append(a.texts, v.text)
			values[i].bits = uint64(text.at) | uint64(text.size)<<32
		}
	}
	list := a.changes.take(len(changes.list))
	for i, change := range changes.list {
		list[i] = abiChange{change.shape, lowerList(values[change.first:change.last])}
	}
	return abiOutcome{0, lowerList(list)}
}

// The descriptor's records.
type (
	abiTopic struct {
		name       abiText
		key, value uint8
		_          uint16
		headers    abiText
	}
	abiColumn struct {
		name     abiText
		kind     uint8
		nullable uint8
		_        uint16
	}
	abiIndex struct {
		columns abiText
		kind    uint32
	}
	abiTable struct {
		name, columns, key, indexes abiText
		partitioning                uint32
	}
	abiAssignment struct {
		column    abiText
		operation uint32
	}
	abiShape struct {
		table  abiText
		action uint32
		list   abiText // or, for delete-prefix, a number
	}
	abiDescriptor struct {
		name                   abiText
		revision               uint32
		topics, tables, shapes abiText
	}
)

func keep[T any](all *[]any, list []T) abiText {
	*all = append(*all, list)
	return lowerList(list)
}

func texts(all *[]any, names []string) abiText {
	list := make([]abiText, len(names))
	for i, name := range names {
		list[i] = lowerText(name)
	}
	return keep(all, list)
}

//go:wasmexport describe
func describe() uint32 {
	if projection.apply == nil {
		panic("laterna: no projection: call laterna.Projection in an init function")
	}
	var all []any
	flag := func(b bool) uint8 {
		if b {
			return 1
		}
		return 0
	}
	var topics []abiTopic
	for _, t := range projection.topics {
		topics = append(topics, abiTopic{name: lowerText(t.name), key: flag(t.binaryKey), value: flag(t.binaryValue), headers: texts(&all, t.headers)})
	}
	var tables []abiTable
	for _, t := range projection.tables {
		var columns []abiColumn
		var key []string
		for _, f := range t.columns() {
			columns = append(columns, abiColumn{name: lowerText(f.column), kind: f.kind, nullable: flag(f.null)})
			if f.key {
				key = append(key, f.column)
			}
		}
		var indexes []abiIndex
		for _, index := range t.indexes {
			indexes = append(indexes, abiIndex{texts(&all, index.columns), uint32(flag(index.words))})
		}
		tables = append(tables, abiTable{lowerText(t.name), keep(&all, columns), texts(&all, key), keep(&all, indexes), uint32(t.partitioning)})
	}
	operations := map[string]uint32{"": 0, "set": 0, "add": 1, "max": 2, "min": 3, "set_if_null": 4, "newer": 5}
	var shapes []abiShape
	for _, s := range projection.changes {
		shape := abiShape{table: lowerText(s.table.name), action: uint32(s.action)}
		var assignments []abiAssignment
		var plain []string
		keys := uint32(0)
		for _, f := range s.columns() {
			if f.key {
				keys++
				continue
			}
			assignments = append(assignments, abiAssignment{lowerText(f.column), operations[f.word]})
			plain = append(plain, f.column)
		}
		switch s.action {
		case actionUpsert, actionUpdate:
			shape.list = keep(&all, assignments)
		case actionInsert:
			shape.list = texts(&all, plain)
		case actionDeletePrefix:
			shape.list.at = keys
		}
		shapes = append(shapes, shape)
	}
	descriptor := &abiDescriptor{lowerText(projection.name), projection.revision, keep(&all, topics), keep(&all, tables), keep(&all, shapes)}
	kept = append(all, descriptor)
	return address(unsafe.Pointer(descriptor))
}
