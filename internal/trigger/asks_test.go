package trigger

import "testing"

func TestWhatATriggerAsksFor(t *testing.T) {
	trigger, err := ParseLook("reset & depth>3 | wait>1s")
	if err != nil {
		t.Fatal(err)
	}
	for measure, want := range map[string]bool{"reset": true, "depth": true, "wait": true, "close_wait": false, "": false} {
		if trigger.Asks(measure) != want {
			t.Errorf("%q: want %v", measure, want)
		}
	}
}
