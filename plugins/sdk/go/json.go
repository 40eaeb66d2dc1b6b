package laterna

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Unmarshal reads one JSON document, checked whole, into what target points to. It differs from encoding/json in what a
// projection needs: a field that is missing, or null, is an error unless it is a pointer or tagged `json:"name,omitempty"`;
// names are compared exactly; an error names the place, as in "items[1].quantity: a whole number of 64 bits wanted".
// Numbers are never rounded.
//
// Types are bool, int64, int32, float64, string, [Decimal] (text or number), time.Time and [Date] and [UUID] (text),
// json.RawMessage (the source text), slices, pointers and structs of these. Text is not copied: it lives as long as the
// event does, and longer. For anything else there is encoding/json, with the event's Text.
func Unmarshal(text string, target any) error {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("laterna: Unmarshal wants a pointer")
	}
	r := reader{text: text}
	err := r.read(planOf(v.Type().Elem()), v.UnsafePointer(), 0)
	if err == nil {
		r.space()
		if r.at < len(text) {
			err = r.broken("more text behind the value")
		}
	}
	var place *placed
	if errors.As(err, &place) && place.path != "" {
		return fmt.Errorf("the value is not the JSON that is read here: %s: %s", place.path, place.reason)
	} else if place != nil {
		return fmt.Errorf("the value is not the JSON that is read here: %s", place.reason)
	}
	return err
}

// A placed error names a value in the document.
type placed struct{ path, reason string }

func (e *placed) Error() string { return e.path + ": " + e.reason }

func under(err error, step string) error {
	if e, known := err.(*placed); known {
		if e.path != "" && e.path[0] != '[' {
			step += "."
		}
		e.path = step + e.path
	}
	return err
}

func wanted(what string) error { return &placed{reason: what + " wanted"} }

const (
	planScalar = iota
	planPointer
	planSlice
	planStruct
)

// A plan is how a type is read. Made once for each type.
type plan struct {
	form   uint8
	kind   uint8 // of a scalar
	small  bool
	of     reflect.Type
	inner  *plan // of a pointer or slice
	size   uintptr
	fields []planField
}

type planField struct {
	name     string
	offset   uintptr
	plan     *plan
	optional bool
}

var plans = map[reflect.Type]*plan{}

func planOf(t reflect.Type) *plan {
	if p := plans[t]; p != nil {
		return p
	}
	p := &plan{of: t}
	plans[t] = p
	if kind, small, known := kindOf(t); known && kind != typeBytes {
		p.kind, p.small = kind, small
		return p
	}
	switch t.Kind() {
	case reflect.Pointer:
		p.form, p.inner = planPointer, planOf(t.Elem())
	case reflect.Slice:
		p.form, p.inner, p.size = planSlice, planOf(t.Elem()), t.Elem().Size()
	case reflect.Struct:
		p.form = planStruct
		for i := 0; i < t.NumField(); i++ {
			f := t.Field(i)
			tag := f.Tag.Get("json")
			if f.PkgPath != "" || tag == "-" {
				continue
			}
			name, words, _ := strings.Cut(tag, ",")
			if name == "" {
				name = f.Name
			}
			optional := f.Type.Kind() == reflect.Pointer || words == "omitempty"
			p.fields = append(p.fields, planField{name, f.Offset, planOf(f.Type), optional})
		}
		if len(p.fields) > 64 {
			panic(fmt.Sprintf("laterna: %s has more than 64 fields", t))
		}
	default:
		panic(fmt.Sprintf("laterna: JSON is not read into %s; use encoding/json with the event's Text", t))
	}
	return p
}

type reader struct {
	text string
	at   int
}

const depthMax = 128

func (r *reader) broken(what string) error {
	return fmt.Errorf("the value is not JSON: %s at byte %d", what, r.at)
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

func (r *reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *reader) word(word string) error {
	if !strings.HasPrefix(r.text[r.at:], word) {
		return r.broken("a value expected")
	}
	r.at += len(word)
	return nil
}

// What a scalar wants, for errors.
var wants = [...]string{"true or false", "a whole number of 64 bits", "a number", "a decimal number, as text or number", "a text", "",
	"an instant like \"2026-01-31T12:00:00Z\"", "a day like \"2026-01-31\"", "a UUID", "a value"}

func (p *plan) wants() string {
	switch p.form {
	case planPointer:
		return p.inner.wants()
	case planSlice:
		return "a list"
	case planStruct:
		return "an object"
	}
	if p.small {
		return "a whole number of 32 bits"
	}
	return wants[p.kind]
}

func (r *reader) read(p *plan, to unsafe.Pointer, depth int) error {
	r.space()
	if depth > depthMax {
		return r.broken("nested more than 128 deep")
	}
	first := r.at
	c := r.peek()
	switch p.form {
	case planPointer:
		if c == 'n' {
			*(*unsafe.Pointer)(to) = nil
			return r.word("null")
		}
		fresh := reflect.New(p.inner.of)
		*(*unsafe.Pointer)(to) = fresh.UnsafePointer()
		return r.read(p.inner, fresh.UnsafePointer(), depth)
	case planSlice:
		if c == '[' {
			return r.readList(p, to, depth)
		}
	case planStruct:
		if c == '{' {
			return r.readStruct(p, to, depth)
		}
	default:
		return r.readScalar(p, to, c, first, depth)
	}
	if err := r.skip(depth); err != nil {
		return err
	}
	return wanted(p.wants())
}

func (r *reader) readScalar(p *plan, to unsafe.Pointer, c byte, first, depth int) error {
	switch {
	case p.kind == typeJSON:
		if err := r.skip(depth); err != nil {
			return err
		}
		// A copy: it is a slice, which the author may change.
		*(*[]byte)(to) = []byte(r.text[first:r.at])
		return nil
	case c == '"' && (p.kind >= typeDecimal):
		text, err := r.readText()
		if err != nil {
			return err
		}
		switch p.kind {
		case typeText:
			*(*string)(to) = text
		case typeDecimal:
			*(*Decimal)(to), err = parseDecimal(text)
		case typeTimestamp:
			*(*time.Time)(to), err = ParseTime(text)
		case typeDate:
			*(*Date)(to), err = ParseDate(text)
		case typeUUID:
			*(*UUID)(to), err = ParseUUID(text)
		}
		if err != nil {
			return &placed{reason: err.Error()}
		}
		return nil
	case (c == '-' || c >= '0' && c <= '9') && p.kind >= typeInteger && p.kind <= typeDecimal:
		if err := r.skip(depth); err != nil {
			return err
		}
		text := r.text[first:r.at]
		var err error
		switch {
		case p.kind == typeDecimal:
			*(*Decimal)(to), err = parseDecimal(text)
		case p.kind == typeFloat:
			*(*float64)(to), err = strconv.ParseFloat(text, 64)
		case p.small:
			var number int64
			number, err = strconv.ParseInt(text, 10, 32)
			*(*int32)(to) = int32(number)
		default:
			*(*int64)(to), err = strconv.ParseInt(text, 10, 64)
		}
		if err != nil {
			return wanted(p.wants())
		}
		return nil
	case (c == 't' || c == 'f') && p.kind == typeBoolean:
		*(*bool)(to) = c == 't'
		return r.skip(depth)
	}
	if err := r.skip(depth); err != nil {
		return err
	}
	return wanted(p.wants())
}

func (r *reader) readStruct(p *plan, to unsafe.Pointer, depth int) error {
	var seen uint64
	// The first fault in a field waits until the document is known to be JSON, and names are compared from where the last
	// one was found: fields mostly come in order.
	var fault error
	next := 0
	r.at++
	r.space()
	if r.peek() == '}' {
		r.at++
	} else {
		for {
			r.space()
			name, err := r.readText()
			if err != nil {
				return err
			}
			if r.space(); r.peek() != ':' {
				return r.broken("':' expected")
			}
			r.at++
			found := -1
			for i := range p.fields {
				at := next + i
				if at >= len(p.fields) {
					at -= len(p.fields)
				}
				if p.fields[at].name == name {
					found, next = at, at+1
					break
				}
			}
			if found < 0 {
				r.space()
				err = r.skip(depth + 1)
			} else {
				field := &p.fields[found]
				seen |= 1 << found
				if r.space(); field.optional && field.plan.form != planPointer && r.peek() == 'n' {
					err = r.word("null")
				} else {
					err = under(r.read(field.plan, unsafe.Add(to, field.offset), depth+1), field.name)
				}
			}
			if _, known := err.(*placed); known {
				if fault == nil {
					fault = err
				}
			} else if err != nil {
				return err
			}
			r.space()
			c := r.peek()
			r.at++
			if c == '}' {
				break
			}
			if c != ',' {
				r.at--
				return r.broken("',' or '}' expected")
			}
		}
	}
	if fault != nil {
		return fault
	}
	for i := range p.fields {
		if field := &p.fields[i]; seen&(1<<i) == 0 && !field.optional {
			return &placed{field.name, "missing, " + field.plan.wants() + " wanted"}
		}
	}
	return nil
}

// A slice as both compilers lay it out.
type sliceHeader struct {
	data      unsafe.Pointer
	len, room int
}

func (r *reader) readList(p *plan, to unsafe.Pointer, depth int) error {
	var list reflect.Value
	var fault error
	length, room := 0, 0
	r.at++
	if r.space(); r.peek() == ']' {
		r.at++
	} else {
		for {
			if length == room {
				room = max(4, 2*room)
				grown := reflect.MakeSlice(p.of, room, room)
				if length > 0 {
					reflect.Copy(grown, list)
				}
				list = grown
			}
			err := r.read(p.inner, unsafe.Add(list.UnsafePointer(), uintptr(length)*p.size), depth+1)
			if _, known := err.(*placed); known {
				if fault == nil {
					fault = under(err, "["+strconv.Itoa(length)+"]")
				}
			} else if err != nil {
				return err
			}
			length++
			r.space()
			c := r.peek()
			r.at++
			if c == ']' {
				break
			}
			if c != ',' {
				r.at--
				return r.broken("',' or ']' expected")
			}
		}
	}
	if fault == nil {
		if length == 0 {
			list = reflect.MakeSlice(p.of, 0, 0)
		}
		// Not through reflect.NewAt, which TinyGo does not have.
		*(*sliceHeader)(to) = sliceHeader{list.UnsafePointer(), length, room}
	}
	return fault
}

// skip passes over one value, and checks it.
func (r *reader) skip(depth int) error {
	if depth > depthMax {
		return r.broken("nested more than 128 deep")
	}
	switch c := r.peek(); {
	case c == '"':
		_, err := r.readText()
		return err
	case c == '{' || c == '[':
		end := c + 2 // '}' and ']' stand two behind
		r.at++
		if r.space(); r.peek() == end {
			r.at++
			return nil
		}
		for {
			r.space()
			if c == '{' {
				if _, err := r.readText(); err != nil {
					return err
				}
				if r.space(); r.peek() != ':' {
					return r.broken("':' expected")
				}
				r.at++
				r.space()
			}
			if err := r.skip(depth + 1); err != nil {
				return err
			}
			r.space()
			d := r.peek()
			if d != ',' && d != end {
				return r.broken("',' or '" + string(rune(end)) + "' expected")
			}
			r.at++
			if d == end {
				return nil
			}
		}
	case c == 't':
		return r.word("true")
	case c == 'f':
		return r.word("false")
	case c == 'n':
		return r.word("null")
	case c == '-' || c >= '0' && c <= '9':
		return r.skipNumber()
	}
	if r.at >= len(r.text) {
		return r.broken("the text ends too early")
	}
	return r.broken("a value expected")
}

func (r *reader) digits() error {
	first := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	if r.at == first {
		return r.broken("a digit expected")
	}
	return nil
}

func (r *reader) skipNumber() error {
	if r.peek() == '-' {
		r.at++
	}
	if r.peek() == '0' {
		r.at++
	} else if err := r.digits(); err != nil {
		return err
	}
	if r.peek() == '.' {
		r.at++
		if err := r.digits(); err != nil {
			return err
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.at++
		if c := r.peek(); c == '+' || c == '-' {
			r.at++
		}
		return r.digits()
	}
	return nil
}

func (r *reader) readText() (string, error) {
	if r.peek() != '"' {
		return "", r.broken("a text expected")
	}
	r.at++
	first := r.at
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return r.text[first : r.at-1], nil
		case c == '\\':
			return r.readEscaped(first)
		case c < 0x20:
			return "", r.broken("a control character in a text")
		}
		r.at++
	}
	return "", r.broken("a text without end")
}

func (r *reader) readEscaped(first int) (string, error) {
	text := append(make([]byte, 0, r.at-first+32), r.text[first:r.at]...)
	for r.at < len(r.text) {
		c := r.text[r.at]
		r.at++
		switch {
		case c == '"':
			return textOf(text), nil
		case c < 0x20:
			return "", r.broken("a control character in a text")
		case c != '\\':
			text = append(text, c)
			continue
		}
		c = r.peek()
		r.at++
		switch c {
		case '"', '\\', '/':
			text = append(text, c)
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			unit, err := r.hexadecimal()
			if err != nil {
				return "", err
			}
			if unit >= 0xd800 && unit < 0xe000 {
				if unit >= 0xdc00 || !strings.HasPrefix(r.text[r.at:], `\u`) {
					return "", r.broken("half of a surrogate pair")
				}
				r.at += 2
				low, err := r.hexadecimal()
				if err != nil {
					return "", err
				}
				if low < 0xdc00 || low > 0xdfff {
					return "", r.broken("half of a surrogate pair")
				}
				unit = 0x10000 + (unit-0xd800)<<10 + (low - 0xdc00)
			}
			text = utf8.AppendRune(text, rune(unit))
		default:
			return "", r.broken("an unknown escape")
		}
	}
	return "", r.broken("a text without end")
}

func (r *reader) hexadecimal() (uint32, error) {
	if r.at+4 <= len(r.text) {
		if unit, err := strconv.ParseUint(r.text[r.at:r.at+4], 16, 32); err == nil {
			r.at += 4
			return uint32(unit), nil
		}
	}
	return 0, r.broken("four hexadecimal digits expected")
}
