package export

import (
	"encoding/json"
	"fmt"
	"testing"
)

// traceEvent is an event of the Trace Event Format, as its specification names the
// keys; a pointer is one that not all phases have.
type traceEvent struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	Time  *float64       `json:"ts"` // µs
	Dur   *float64       `json:"dur"`
	PID   *int           `json:"pid"`
	TID   *int           `json:"tid"`
	Cat   string         `json:"cat"`
	ID    string         `json:"id"`
	Scope string         `json:"s"`
	Args  map[string]any `json:"args"`
}

// checkTimeline sees that a timeline is what the Trace Event Format demands of the
// phases that are written.
func checkTimeline(t *testing.T, timeline []byte) {
	t.Helper()
	var file struct {
		Unit   string       `json:"displayTimeUnit"`
		Events []traceEvent `json:"traceEvents"`
	}
	if err := json.Unmarshal(timeline, &file); err != nil {
		t.Fatal(err)
	}
	if file.Unit != "ms" && file.Unit != "ns" || len(file.Events) == 0 {
		t.Errorf("unit %q, %d events", file.Unit, len(file.Events))
	}
	open := make(map[string]float64) // asynchronous ones, by category and ID
	named := make(map[int]bool)
	for i, e := range file.Events {
		if err := checkTraceEvent(&e, open, named); err != nil {
			t.Errorf("event %d, %+v: %v", i, e, err)
		}
	}
	if len(open) > 0 {
		t.Errorf("begun and not ended: %v", open)
	}
}

func checkTraceEvent(e *traceEvent, open map[string]float64, named map[int]bool) error {
	if e.Name == "" || e.PID == nil {
		return fmt.Errorf("it needs a name and a pid")
	}
	if e.Phase == "M" {
		if name, ok := e.Args["name"].(string); !ok || name == "" || e.Name != "process_name" && e.Name != "thread_name" {
			return fmt.Errorf("metadata without a name")
		}
		if e.Name == "thread_name" {
			named[*e.TID] = true
		}
		return nil
	}
	if e.Time == nil || *e.Time < 0 {
		return fmt.Errorf("it needs a time that is not before the beginning")
	}
	if e.Phase != "C" && (e.TID == nil || !named[*e.TID]) {
		return fmt.Errorf("its track has no name")
	}
	id := e.Cat + e.ID
	switch e.Phase {
	case "C":
		for _, v := range e.Args {
			if _, ok := v.(float64); !ok {
				return fmt.Errorf("a counter that is no number")
			}
		}
		if len(e.Args) == 0 {
			return fmt.Errorf("a counter without a value")
		}
	case "X":
		if e.Dur == nil || *e.Dur < 0 {
			return fmt.Errorf("it needs a duration")
		}
	case "i":
		if e.Scope != "g" && e.Scope != "p" && e.Scope != "t" {
			return fmt.Errorf("it needs a scope")
		}
	case "b":
		if _, ok := open[id]; ok || e.Cat == "" || e.ID == "" {
			return fmt.Errorf("it needs a category and an ID of its own")
		}
		open[id] = *e.Time
	case "e":
		if from, ok := open[id]; !ok || *e.Time < from {
			return fmt.Errorf("it ends what has not begun")
		}
		delete(open, id)
	default:
		return fmt.Errorf("a phase that is not used")
	}
	return nil
}
