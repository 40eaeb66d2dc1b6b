package laterna

import "fmt"

// Debugf logs what helps an author.
func Debugf(format string, arguments ...any) { writeLog(1, fmt.Sprintf(format, arguments...)) }

// Infof logs what an operator may want to know.
func Infof(format string, arguments ...any) { writeLog(2, fmt.Sprintf(format, arguments...)) }

// Warnf logs what an operator should know.
func Warnf(format string, arguments ...any) { writeLog(3, fmt.Sprintf(format, arguments...)) }

// Errorf logs what an operator must act on.
func Errorf(format string, arguments ...any) { writeLog(4, fmt.Sprintf(format, arguments...)) }
