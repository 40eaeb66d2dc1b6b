//go:build !wasm

package laterna

import "os"

// In native tests, a test's output is the log.
func writeLog(_ int32, line string) { os.Stderr.WriteString(line + "\n") }
