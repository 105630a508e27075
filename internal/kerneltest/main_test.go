//go:build kernel

package kerneltest

import (
	"os"
	"strings"
	"testing"
	"time"
)

// patience is after how long something is taken never to happen. Putting a hook in
// place and taking it out waits until every thread has run (RCU tasks): with one that
// gets no CPU, diagnose took 90 s on an emulated 6.1.
const patience = 5 * time.Minute

// pollEvery is the pause between two looks at a condition.
const pollEvery = 20 * time.Millisecond

// modes are those that must work here.
func modes(t *testing.T) []string {
	t.Helper()
	demanded := os.Getenv("ACCEPTWATCH_MODES")
	if demanded == "" {
		t.Fatal("ACCEPTWATCH_MODES does not name the modes that must work here")
	}
	return strings.Split(demanded, ",")
}

// expectedMode is the mode that must be chosen when none is forced.
func expectedMode(t *testing.T) string {
	t.Helper()
	if mode := os.Getenv("ACCEPTWATCH_EXPECT_MODE"); mode != "" {
		return mode
	}
	return modes(t)[0]
}

// everyMode runs the test in each mode that must work here.
func everyMode(t *testing.T, test func(t *testing.T, mode string)) {
	t.Helper()
	for _, mode := range modes(t) {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// await polls until the condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so within %v; ss shows\n%s", what, patience, ssText(t))
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
