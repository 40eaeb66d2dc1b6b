package laterna

import "time"

// A CloudEvent is an event with data of type T, as [Event.JSON] reads it. It wants format = "cloudevents" for the topic: then
// the engine hands every one over as one JSON text, however it was written.
type CloudEvent[T any] struct {
	// Type is what it is: "com.example.order.placed".
	Type string `json:"type"`
	// Source is where it comes from. With ID it names the event.
	Source string `json:"source"`
	ID     string `json:"id"`
	// Subject is what it is about, in its source.
	Subject *string `json:"subject"`
	// Time is when it happened.
	Time *time.Time `json:"time"`
	// Data is nil where the event has none, or data that is neither JSON nor text.
	Data *T `json:"data"`
	// DataBase64 is data that is neither JSON nor text.
	DataBase64 *string `json:"data_base64"`
}

// A RowChange is what Debezium saw in a database, with rows of type T, as [Event.JSON] reads it. It wants format = "debezium"
// for the topic. A tombstone follows a delete, and says nothing new.
type RowChange[T any] struct {
	// Op is "c" for create, "r" for read in a snapshot, "u" for update, "d" for delete, "t" for truncate, "m" for message.
	Op string `json:"op"`
	// Before is the row as it was; nil where it is new, or the database does not tell.
	Before *T `json:"before"`
	// After is the row as it is; nil where it is gone.
	After *T `json:"after"`
	// Source is where it was seen.
	Source ChangeSource `json:"source,omitempty"`
}

// A ChangeSource is where Debezium saw a change.
type ChangeSource struct {
	// TimestampMillis is when the database made it, in milliseconds since 1970.
	TimestampMillis *int64  `json:"ts_ms"`
	Database        *string `json:"db"`
	Schema          *string `json:"schema"`
	Table           *string `json:"table"`
}
