package diagnose

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for name, test := range cases() {
		t.Run(name, func(t *testing.T) {
			all := Judge(&test.evidence)
			if got := all[0]; got.Cause != test.cause || got.Confidence != test.sure {
				t.Errorf("want %s (%v), got %s (%v): %s\nof %+v", test.cause, test.sure, got.Cause, got.Confidence, got.Summary, all)
			}
			for _, v := range all {
				if v.Summary == "" || v.Do == "" || v.Cause != CannotTell && v.Refute == "" {
					t.Errorf("a verdict lacks words: %+v", v)
				}
			}
		})
	}
}

// A thread that waits at another listener of the server serves that one.
func TestTheOtherListenerOfAThreadIsNamed(t *testing.T) {
	for _, call := range []string{"accept4", "poll"} {
		e := stalledWith(of(1, 0, sees(1, in(call, another))))
		v := Judge(&e)[0]
		if !strings.Contains(v.Summary, "app[1] is at another listener, 127.0.0.1:21021") ||
			!strings.Contains(strings.Join(v.Evidence, "\n"), call+" on another listener, 127.0.0.1:21021 (descriptor 5)") {
			t.Errorf("%s: %s, %q", call, v.Summary, v.Evidence)
		}
		e.Listener = another.Local // of one group
		if v := Judge(&e)[0]; !strings.Contains(v.Summary, "app[1] is at another listener at the same address") {
			t.Errorf("%s: %s", call, v.Summary)
		}
	}
}

// Each worker of nginx inherits the listeners of all, and watches its own.
func TestAWorkerThatDoesNotWatchTheListenerIsNotBlamed(t *testing.T) {
	e := stalledWith(watching(of(1, 0, sees(1, in("futex", condition))), Watch{FD: 4}), of(2, 0, sees(2, in("recvfrom", database))))
	for _, v := range Judge(&e) {
		if strings.Contains(v.Summary, "app[2]") {
			t.Errorf("the other one is: %s", v.Summary)
		}
	}
}

// Who accepts all the time, if too slowly, is not said to be stuck.
func TestWhoAcceptsIsNotSaidToBeStuck(t *testing.T) {
	for name, e := range map[string]Evidence{
		"loop":    stalledWith(watching(of(1, 0, computes(1, 3900*time.Millisecond, 0)), Watch{FD: 4})),
		"thread":  stalledWith(of(1, 0, computes(1, 3900*time.Millisecond, 0))),
		"workers": stalledWith(of(2, 0, sees(2, in("recvfrom", database))), of(3, 0, sees(3, in("recvfrom", database)))),
	} {
		e = accepting(e)
		v := Judge(&e)[0]
		for _, word := range []string{"blocks", "does not come back", "no one is left"} {
			if strings.Contains(v.Summary, word) {
				t.Errorf("%s: %s", name, v.Summary)
			}
		}
		if !strings.Contains(v.Summary, "accept") || !strings.Contains(v.Summary, "slow") {
			t.Errorf("%s: it does not say that connections are accepted, too slowly: %s", name, v.Summary)
		}
	}
}

// A recording of evidence gives the verdict of then.
func TestEvidenceAsJSONGivesTheSameVerdicts(t *testing.T) {
	for name, test := range cases() {
		text, err := json.Marshal(&test.evidence)
		if err != nil {
			t.Fatal(err)
		}
		var read Evidence
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		if want, got := Judge(&test.evidence), Judge(&read); !reflect.DeepEqual(want, got) {
			t.Errorf("%s: want %+v, got %+v", name, want, got)
		}
	}
}

// Every cause is that of a case, and every rule gives a verdict in one.
func TestEveryRuleIsTested(t *testing.T) {
	fired := make(map[string]bool)
	for _, test := range cases() {
		r := reason(&test.evidence)
		for _, rule := range Rules() {
			if rule.judge(r) != nil {
				fired[rule.Name] = true
			}
		}
	}
	for _, rule := range Rules() {
		if !fired[rule.Name] {
			t.Errorf("no case has rule %s speak", rule.Name)
		}
		if rule.Text == "" {
			t.Errorf("rule %s has no text", rule.Name)
		}
	}
}

func TestUnknownIsLeftOutOfJSON(t *testing.T) {
	text, err := json.Marshal(Queue{Depth: Known[uint32](0)})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"depth":0}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

// FuzzJudge takes evidence of a recording, which may hold anything.
func FuzzJudge(f *testing.F) {
	for _, test := range cases() {
		text, err := json.Marshal(&test.evidence)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var e Evidence
		if json.Unmarshal(text, &e) != nil {
			return
		}
		if all := Judge(&e); len(all) == 0 || all[0].Summary == "" {
			t.Errorf("%d verdicts: %+v", len(all), all)
		}
	})
}
