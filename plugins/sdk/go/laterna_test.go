package laterna

import (
	"strings"
	"testing"
	"time"
)

type sum struct {
	ID    string     `laterna:"id,key"`
	Total int64      `laterna:"total,add"`
	Price *Decimal   `laterna:"price,max"`
	At    *time.Time `laterna:"at"`
}

var sums = NewTable[sum]("sums", Ordered("total"))
var summed = Upsert[sum](sums)

func init() {
	Projection("test", 1, func(event *Event, changes *Changes) error {
		var e struct {
			ID    string     `json:"id"`
			Total int64      `json:"total"`
			Price *Decimal   `json:"price"`
			At    *time.Time `json:"at"`
		}
		if err := event.JSON(&e); err != nil {
			return err
		}
		summed.Put(changes, sum{e.ID, e.Total, e.Price, e.At})
		return nil
	}, Topic("t"))
}

func TestAnEventGivesItsChange(t *testing.T) {
	rows, err := Apply(&Event{Value: []byte(`{"id":"\u00e4","total":9007199254740993,"price":"12.50","at":"2026-01-31T12:00:00.25+01:00","x":[{}]}`)})
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	for column, want := range map[string]any{"": "sums upsert", "id": "ä", "total": int64(9007199254740993), "price": "12.50", "at": "2026-01-31T11:00:00.250000Z"} {
		if rows[0][column] != want {
			t.Errorf("%s: %v, not %v", column, rows[0][column], want)
		}
	}
	for value, want := range map[string]string{
		`{"id":"a"}`:                         "total: missing, a whole number of 64 bits wanted",
		`{"id":"a","total":1.0}`:             "total: a whole number of 64 bits wanted",
		`{"id":null,"total":1}`:              "id: a text wanted",
		`{"id":"a","total":1,"price":"1,0"}`: "price: a decimal number wanted",
		`{"id":"a","total":1`:                "not JSON",
		`{"id":"a","total":01}`:              "not JSON",
		`{"id":"\ud800","total":1}`:          "half of a surrogate pair",
		"{\"id\":\"\xff\",\"total\":1}":      "not UTF-8",
	} {
		if _, err := Apply(&Event{Value: []byte(value)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if _, err := Apply(&Event{}); err == nil {
		t.Error("a tombstone is no JSON")
	}
}

func TestDecimalsAreExactOrAnError(t *testing.T) {
	for text, shown := range map[string]string{"12.50": "12.50", "-0.05": "-0.05", "-1.2e3": "-1200", "1.25E-2": "0.0125", "0e99": "0",
		"170141183460469231731687303715884105727": "170141183460469231731687303715884105727"} {
		if d, err := ParseDecimal(text); err != nil || d.String() != shown {
			t.Error(text, d, err)
		}
	}
	for _, text := range []string{"", "-", "1,0", "1.2.3", "NaN", " 1", "1e39", "1e-39", "1e", "170141183460469231731687303715884105728"} {
		if d, err := ParseDecimal(text); err == nil {
			t.Error(text, d)
		}
	}
	a, _ := ParseDecimal("0.1")
	b, _ := ParseDecimal("-0.25")
	if c, err := a.Plus(b); err != nil || c.String() != "-0.15" || c.Compare(a) != -1 || a.Compare(Cents(10)) != 0 {
		t.Error(c, err)
	}
	most, _ := ParseDecimal("170141183460469231731687303715884105727")
	if _, err := most.Times(2); err == nil {
		t.Error("it does not fit")
	}
	if _, err := most.Plus(Whole(1)); err == nil {
		t.Error("it does not fit")
	}
}

func TestAWrongDeclarationIsNamed(t *testing.T) {
	declared := len(projection.changes)
	defer func() { projection.changes = projection.changes[:declared] }()
	type other struct {
		ID    string `laterna:"id,key"`
		Other int64  `laterna:"other"`
	}
	type text struct {
		ID    string `laterna:"id,key"`
		Total string `laterna:"total"`
	}
	type short struct {
		ID string `laterna:"id,key"`
	}
	for want, columns := range map[string]func() []field{
		`no column "other"`: Update[other](sums).shape.columns,
		"integer in the":    Update[text](sums).shape.columns,
		"needs total":       Upsert[short](sums).shape.columns,
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, want) {
					t.Errorf("%q is not in %q", want, said)
				}
			}()
			columns()
		}()
	}
}

func TestACloudEventAndAChangeAreRead(t *testing.T) {
	type row struct {
		ID int64 `json:"id"`
	}
	read := func(text string, into any) error { return (&Event{Value: []byte(text)}).JSON(into) }
	var paid CloudEvent[row]
	err := read(`{"specversion":"1.0","id":"7","source":"/shop","type":"paid","time":"2026-01-31T12:00:00Z","data":{"id":9007199254740993}}`, &paid)
	if err != nil || paid.Type != "paid" || paid.Source != "/shop" || paid.ID != "7" || paid.Subject != nil || paid.Data.ID != 9007199254740993 || paid.Time.Unix() != 1769860800 {
		t.Error(paid, err)
	}
	if err := read(`{"id":"7","source":"s"}`, &CloudEvent[row]{}); err == nil || !strings.Contains(err.Error(), "type: missing") {
		t.Error(err)
	}
	var change RowChange[row]
	err = read(`{"op":"d","before":{"id":1},"after":null,"source":{"ts_ms":5,"lsn":7,"table":"orders"}}`, &change)
	if err != nil || change.Op != "d" || change.Before.ID != 1 || change.After != nil || *change.Source.TimestampMillis != 5 || *change.Source.Table != "orders" {
		t.Error(change, err)
	}
	change = RowChange[row]{}
	if err = read(`{"op":"c","after":{"id":2}}`, &change); err != nil || change.After.ID != 2 || change.Source.TimestampMillis != nil {
		t.Error(change, err)
	}
	if err := read(`{"op":"u","after":{"id":"x"}}`, &RowChange[row]{}); err == nil || !strings.Contains(err.Error(), "after.id: a whole number") {
		t.Error(err)
	}
}
