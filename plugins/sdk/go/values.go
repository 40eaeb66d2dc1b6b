package laterna

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"
	"unsafe"
)

// A Decimal is an exact decimal number: up to 38 digits, of which any number may stand after the point. The zero value
// is 0.
//
// Arithmetic is exact or an error; nothing is rounded and nothing wraps.
type Decimal struct {
	high, low uint64 // below 2^127
	negative  bool
	scale     uint8
}

const scaleMax = 38

var (
	errDecimal = errors.New("a decimal number wanted, like 12.50")
	errLarge   = errors.New("a decimal number of at most 38 digits wanted")
	errDigits  = errors.New("the result has more than 38 digits")
)

// Cents is cents / 100, with two decimal places.
func Cents(cents int64) Decimal { return small(cents, 2) }

// Whole is a whole number.
func Whole(number int64) Decimal { return small(number, 0) }

func small(number int64, scale uint8) Decimal {
	d := Decimal{low: uint64(number), negative: number < 0, scale: scale}
	if number < 0 {
		d.low = -d.low
	}
	return d
}

// ParseDecimal reads plain and scientific notation, keeping the decimal places that are written.
func ParseDecimal(text string) (Decimal, error) {
	d, err := parseDecimal(text)
	if err != nil {
		err = fmt.Errorf("%q: %w", short(text), err)
	}
	return d, err
}

func short(text string) string {
	if len(text) > 40 {
		return text[:40]
	}
	return text
}

func parseDecimal(text string) (Decimal, error) {
	var d Decimal
	i, places, count, point := 0, 0, 0, false
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		d.negative = text[i] == '-'
		i++
	}
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if count < 18 { // that many fit into 64 bits
			d.low = d.low*10 + uint64(c-'0')
		} else if !d.grow(10, uint64(c-'0')) {
			return Decimal{}, errLarge
		}
		count++
		if point {
			places++
		}
	}
	if count == 0 {
		return Decimal{}, errDecimal
	}
	if i < len(text) {
		if text[i] != 'e' && text[i] != 'E' {
			return Decimal{}, errDecimal
		}
		exponent, err := strconv.ParseInt(text[i+1:], 10, 32)
		if errors.Is(err, strconv.ErrRange) {
			return Decimal{}, errLarge
		} else if err != nil {
			return Decimal{}, errDecimal
		}
		if exponent > math.MaxInt16 || exponent < math.MinInt16 {
			if d.high|d.low != 0 || exponent < 0 {
				return Decimal{}, errLarge
			}
			exponent = math.MaxInt16
		}
		places -= int(exponent)
	}
	if d.high|d.low == 0 {
		places, d.negative = max(places, 0), false
	}
	for ; places < 0; places++ {
		if !d.grow(10, 0) {
			return Decimal{}, errLarge
		}
	}
	if places > scaleMax {
		return Decimal{}, errLarge
	}
	d.scale = uint8(places)
	return d, nil
}

// grow makes it d * factor + more, and says whether that fits.
func (d *Decimal) grow(factor, more uint64) bool {
	carry, low := bits.Mul64(d.low, factor)
	low, over := bits.Add64(low, more, 0)
	above, high := bits.Mul64(d.high, factor)
	high, over = bits.Add64(high, carry, over)
	d.high, d.low = high, low
	return above == 0 && over == 0 && high>>63 == 0
}

func (d Decimal) at(scale uint8) (Decimal, bool) {
	if d.high|d.low == 0 {
		return Decimal{scale: scale}, true
	}
	for d.scale < scale {
		if !d.grow(10, 0) {
			return d, false
		}
		d.scale++
	}
	return d, true
}

// Neg is -d.
func (d Decimal) Neg() Decimal { d.negative = !d.negative && d.high|d.low != 0; return d }

// Plus is the sum, with the greater of both scales.
func (d Decimal) Plus(other Decimal) (Decimal, error) {
	scale := max(d.scale, other.scale)
	a, fits := d.at(scale)
	b, fits2 := other.at(scale)
	if !fits || !fits2 {
		return Decimal{}, fmt.Errorf("%s plus %s: %w", d, other, errDigits)
	}
	if a.negative == b.negative {
		low, carry := bits.Add64(a.low, b.low, 0)
		high, _ := bits.Add64(a.high, b.high, carry) // two below 2^63
		if high>>63 != 0 {
			return Decimal{}, fmt.Errorf("%s plus %s: %w", d, other, errDigits)
		}
		return Decimal{high, low, a.negative, scale}, nil
	}
	if a.high < b.high || a.high == b.high && a.low < b.low {
		a, b = b, a
	}
	low, borrow := bits.Sub64(a.low, b.low, 0)
	high, _ := bits.Sub64(a.high, b.high, borrow)
	return Decimal{high, low, a.negative && high|low != 0, scale}, nil
}

// Minus is the difference, with the greater of both scales.
func (d Decimal) Minus(other Decimal) (Decimal, error) { return d.Plus(other.Neg()) }

// Times is the product with a whole number, with the same scale.
func (d Decimal) Times(factor int64) (Decimal, error) {
	by := small(factor, 0)
	product := d
	if !product.grow(by.low, 0) {
		return Decimal{}, fmt.Errorf("%s times %d: %w", d, factor, errDigits)
	}
	product.negative = d.negative != by.negative && product.high|product.low != 0
	return product, nil
}

// Compare is -1, 0 or 1: 1.0 equals 1.00.
func (d Decimal) Compare(other Decimal) int {
	if d.negative != other.negative {
		if d.negative {
			return -1
		}
		return 1
	}
	order := 0
	a, b := d, other
	for a.scale != b.scale && order == 0 { // the one that no longer fits at a greater scale is greater
		if a.scale < b.scale {
			if a.scale++; !a.grow(10, 0) {
				order = 1
			}
		} else if b.scale++; !b.grow(10, 0) {
			order = -1
		}
	}
	switch {
	case order != 0:
	case a.high != b.high:
		order = 1
		if a.high < b.high {
			order = -1
		}
	case a.low != b.low:
		order = 1
		if a.low < b.low {
			order = -1
		}
	}
	if d.negative {
		return -order
	}
	return order
}

// String is its text, with as many decimal places as its scale.
func (d Decimal) String() string {
	var buffer [44]byte
	at, places := len(buffer), d.scale
	high, low := d.high, d.low
	for {
		var digit uint64
		if high == 0 {
			digit, low = low%10, low/10
		} else {
			var rest uint64
			high, rest = high/10, high%10
			low, digit = bits.Div64(rest, low, 10)
		}
		at--
		buffer[at] = byte('0' + digit)
		if places == 1 {
			at--
			buffer[at] = '.'
		} else if places == 0 && high|low == 0 {
			break
		}
		if places > 0 {
			places--
		}
	}
	if d.negative {
		at--
		buffer[at] = '-'
	}
	return string(buffer[at:])
}

// A Date is a calendar day: days since 1970-01-01, negative before it.
type Date int32

// DateOf is the day that an instant falls on, in UTC.
func DateOf(t time.Time) Date {
	seconds := t.Unix()
	day := seconds / 86400
	if seconds%86400 < 0 {
		day--
	}
	return Date(min(max(day, math.MinInt32), math.MaxInt32))
}

// ParseDate reads "2026-01-31".
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, fmt.Errorf("%q: a day wanted, like 2026-01-31", short(text))
	}
	return DateOf(t), nil
}

// String is the day as "2026-01-31".
func (d Date) String() string { return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly) }

// ParseTime reads RFC 3339: "2026-01-31T12:00:00.25+01:00". Digits beyond microseconds do not reach the table.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("%q: an instant wanted, like 2026-01-31T12:00:00Z (RFC 3339)", short(text))
	}
	return t, nil
}

// A UUID, most significant byte first.
type UUID [16]byte

// ParseUUID reads 32 hexadecimal digits in groups of 8-4-4-4-12.
func ParseUUID(text string) (UUID, error) {
	var id UUID
	wrong := fmt.Errorf("%q: a UUID wanted: 32 hexadecimal digits in groups of 8-4-4-4-12", short(text))
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, wrong
	}
	if _, err := hex.Decode(id[:], []byte(text[:8]+text[9:13]+text[14:18]+text[19:23]+text[24:])); err != nil {
		return UUID{}, wrong
	}
	return id, nil
}

// String is its text in small letters.
func (id UUID) String() string {
	digits := hex.EncodeToString(id[:])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

func textOf(bytes []byte) string { return unsafe.String(unsafe.SliceData(bytes), len(bytes)) }

// show is a value for tests.
func (v value) show() any {
	if v.kind == 0 {
		return nil
	}
	switch v.kind - 1 {
	case typeBoolean:
		return v.bits != 0
	case typeInteger:
		return int64(v.bits)
	case typeFloat:
		return math.Float64frombits(v.bits)
	case typeTimestamp:
		return time.UnixMicro(int64(v.bits)).UTC().Format("2006-01-02T15:04:05.000000Z")
	case typeDate:
		return Date(int32(v.bits)).String()
	}
	return v.text
}
