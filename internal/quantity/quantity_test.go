package quantity

import "testing"

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 12431: "12,431", 1234567: "1,234,567", -1000: "-1,000", -12: "-12"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestPlural(t *testing.T) {
	for _, test := range []struct {
		n          int
		noun, want string
	}{
		{0, "event", "0 events"}, {1, "event", "1 event"}, {12431, "event", "12,431 events"},
		{1, "process", "1 process"}, {2, "process", "2 processes"}, {2, "network namespace", "2 network namespaces"},
	} {
		if got := Plural(test.n, test.noun); got != test.want {
			t.Errorf("%d %s: %q, want %q", test.n, test.noun, got, test.want)
		}
	}
}

func TestAgree(t *testing.T) {
	for text, want := range map[string][2]string{
		"event[|s] [was|were] lost":              {"event was lost", "events were lost"},
		"entr[y|ies] of it ([its|their] [1])":    {"entry of it (its [1])", "entries of it (their [1])"},
		"nothing to choose, as in older records": {"nothing to choose, as in older records", "nothing to choose, as in older records"},
	} {
		if one, many := Agree(1, text), Agree(uint64(2), text); one != want[0] || many != want[1] {
			t.Errorf("%q: %q and %q", text, one, many)
		}
		if none := Agree(0, text); none != want[1] {
			t.Errorf("%q of none: %q", text, none)
		}
	}
}
