package trigger

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestTriggersFire(t *testing.T) {
	for _, test := range []struct {
		text   string
		values Values
		why    string // empty: it does not fire
	}{
		{"close_wait", Values{}, ""},
		{"close_wait", Values{CloseWait: 1}, "close_wait"},
		{"close_wait", Values{Reset: 1, Purged: 1, Overflow: 1, AcceptError: 1, Accepted: 1}, ""},
		{"close_wait>=10/s", Values{CloseWait: 9.9}, ""},
		{"close_wait >= 10/s", Values{CloseWait: 10}, "close_wait>=10/s"},
		{"close_wait>10", Values{CloseWait: 10}, ""},
		{"close_wait > 10", Values{CloseWait: 10.1}, "close_wait>10"},
		{"reset", Values{Reset: 1}, "reset"},
		{"purged", Values{Purged: 1}, "purged"},
		{"overflow", Values{Overflow: 0.5}, "overflow"},
		{"accept_error", Values{AcceptError: 1}, "accept_error"},
		{"accepted<1", Values{}, "accepted<1"},
		{"accepted<1", Values{Accepted: 1}, ""},
		{"accepted<=1", Values{Accepted: 1}, "accepted<=1"},
		{"wait>1s", Values{Wait: time.Second}, ""},
		{"wait>1s", Values{Wait: time.Second + 1}, "wait>1s"},
		{"wait>=1m30s", Values{Wait: 90 * time.Second}, "wait>=1m30s"},
		{"depth>90%", Values{Depth: 90, Places: 100}, ""},
		{"depth>90%", Values{Depth: 91, Places: 100}, "depth>90%"},
		{"depth>=100 %", Values{Depth: 129, Places: 129}, "depth>=100%"},
		{"depth>0%", Values{Depth: 5}, ""},
		{"depth>5", Values{Depth: 6}, "depth>5"},
		{"stall", Values{Stalled: true}, "stall"},
		{"stall", Values{Depth: 5, Wait: time.Hour}, ""},
		{"reset|stall", Values{Stalled: true}, "stall"},
		{"reset | stall", Values{Reset: 1, Stalled: true}, "reset"},
		{"reset & stall", Values{Stalled: true}, ""},
		{"reset & stall", Values{Stalled: true, Reset: 2}, "reset&stall"},
		{"depth>5 & wait>1s | reset", Values{Reset: 1}, "reset"},
		{"reset | depth>5 & wait>1s", Values{Depth: 6}, ""},
		{"reset | depth>5 & wait>1s", Values{Depth: 6, Wait: 2 * time.Second}, "depth>5&wait>1s"},
	} {
		trigger, err := Parse(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		why, fires := trigger.Fires(&test.values)
		if why != test.why || fires != (test.why != "") {
			t.Errorf("%s with %+v: %v by %q, want %q", test.text, test.values, fires, why, test.why)
		}
	}
	if _, fires := new(Trigger).Fires(&Values{Stalled: true}); fires {
		t.Error("no trigger fires")
	}
}

func TestBadTriggersAreExplained(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "a condition is missing"},
		{"stall |", "a condition is missing"},
		{"stall & & reset", "a condition is missing"},
		{"close_wiat", `"close_wiat" is nothing that can be measured: choose from close_wait`},
		{">5", `"" is nothing that can be measured`},
		{"stall reset", `"stall reset" is nothing`},
		{"wait", "wait alone is always so: compare it, such as wait>1s"},
		{"depth", "depth alone is always so"},
		{"stall>1", "stall is so or not"},
		{"wait=1s", `"wait=1s" has no comparison`},
		{"wait!1s", "has no comparison"},
		{"wait>1", `"1" cannot be compared with wait`},
		{"wait>-1s", "cannot be compared with wait"},
		{"wait>", `"" cannot be compared with wait`},
		{"depth>x%", "cannot be compared with depth: write it such as depth>90%"},
		{"depth>NaN", "cannot be compared with depth"},
		{"close_wait>1/m", "cannot be compared with close_wait: write it such as close_wait>=10/s"},
		{"close_wait>-1", "cannot be compared with close_wait"},
		{"close_wait>>1", "cannot be compared with close_wait"},
	} {
		_, err := Parse(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", test.text, err, test.want)
		}
	}
}

func TestConditionsOfALook(t *testing.T) {
	for _, test := range []struct {
		text   string
		values Values
		why    string // empty: it does not fire
	}{
		{"close_wait>0", Values{CloseWait: 1}, "close_wait>0"},
		{"close_wait", Values{HeldCloseWait: 1}, ""},
		{"held_close_wait", Values{HeldCloseWait: 1}, "held_close_wait"},
		{"held_close_wait>=10", Values{HeldCloseWait: 9}, ""},
		{"reset & wait>1s", Values{Reset: 3, Wait: time.Minute}, "reset&wait>1s"},
		{"overflow>5 | depth>=100%", Values{Depth: 129, Places: 129}, "depth>=100%"},
	} {
		trigger, err := ParseLook(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if why, fires := trigger.Fires(&test.values); why != test.why || fires != (test.why != "") {
			t.Errorf("%s with %+v: %v by %q, want %q", test.text, test.values, fires, why, test.why)
		}
	}
	for text, want := range map[string]string{
		"":                "give one such as close_wait>=10",
		"stall":           `"stall" is nothing that can be measured: choose from close_wait, reset, held_close_wait, overflow, wait or depth`,
		"accepted<1":      `"accepted" is nothing`,
		"close_wait>=1/s": `"1/s" cannot be compared with close_wait: write it such as close_wait>=10`,
	} {
		if _, err := ParseLook(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse("held_close_wait>1"); err == nil {
		t.Error("what happens has no held_close_wait")
	}
}

func TestRatesAreOfTheLastSecond(t *testing.T) {
	const ms = int64(time.Millisecond)
	var w Window
	for _, test := range []struct {
		at    int64 // ms
		count uint64
		want  float64
	}{
		{0, 1000, 0}, // of before
		{200, 1003, 3},
		{400, 1003, 3},
		{1000, 1003, 3},
		{1200, 1003, 0},
		{1400, 1013, 10},
		{3400, 1033, 10},       // 20 in 2 s
		{4200, 1033, 20 / 2.8}, // the newest of a second ago or more is that at 1400 ms
		{4400, 1033, 0},
		{4500, 900, 0}, // counts never shrink
	} {
		got := w.Add(test.at*ms, Counts{CloseWait: test.count})
		if math.Abs(got.CloseWait-test.want) > 1e-9 {
			t.Errorf("at %d ms: %v, want %v", test.at, got.CloseWait, test.want)
		}
		if other := got.Reset + got.Purged + got.Overflow + got.AcceptError + got.Accepted; other != 0 {
			t.Errorf("at %d ms: %+v", test.at, got)
		}
	}
	for i := range int64(100) {
		w.Add((5000+200*i)*ms, Counts{})
	}
	if len(w.past) > 6 {
		t.Errorf("%d moments are kept", len(w.past))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("close_wait>=1/s | wait>1s & depth>90% | stall")
	f.Fuzz(func(t *testing.T, text string) {
		trigger, err := Parse(text)
		if err != nil {
			return
		}
		why, fires := trigger.Fires(&Values{CloseWait: 1, Wait: time.Hour, Depth: 5, Places: 5, Stalled: true})
		if !fires {
			return
		}
		again, err := Parse(why)
		if err != nil {
			t.Fatalf("%q fires by %q: %v", text, why, err)
		}
		if _, fires := again.Fires(&Values{CloseWait: 1, Wait: time.Hour, Depth: 5, Places: 5, Stalled: true}); !fires {
			t.Fatalf("%q fires by %q, which does not", text, why)
		}
	})
}
