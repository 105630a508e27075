package ui

import "testing"

func TestNamesAreCleanedOfWhatATerminalWouldObey(t *testing.T) {
	for name, want := range map[string]string{
		"nginx: worker":         "nginx: worker",
		"größe 接受":              "größe 接受",
		"a\x1b[31m\x00\tb\x7f":  "a?[31m??b?",
		"c1 \u009b31m":          "c1 ?31m",
		"turned \u202e round":   "turned ? round",
		"a\u200db\u00adc\ufeff": "a?b?c?",
		"two\u2028lines\u2029":  "two?lines?",
		"cut \xe6\x8e":          "cut ??",
	} {
		if got := Clean(name); got != want {
			t.Errorf("%+q: %+q, want %+q", name, got, want)
		}
	}
}
