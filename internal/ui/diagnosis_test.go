package ui

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/golden"
)

func sampleDiagnosis() *Diagnosis {
	return &Diagnosis{
		Full: true,
		Evidence: &diagnose.Evidence{
			Time: 100 * int64(time.Second), Span: 4 * time.Second, Listener: "0.0.0.0:8000", Mode: "diag",
			Blind:     []string{"mode diag: accepted connections are not seen"},
			Processes: []diagnose.Process{{PID: 77, Comm: "app\x1b[2J", Container: strings.Repeat("0123456789abcdef", 4)}, {PID: 78, Comm: "app", Unit: "app.service"}},
		},
		Verdicts: []diagnose.Verdict{
			{Cause: diagnose.Lock, Confidence: diagnose.Medium, Summary: "app[77/79] waits for a lock: futex on futex 0x4bc340",
				Evidence: []string{"2 of 32+1 places taken, the oldest for 5.6 s, none accepted in 4.0 s", "who may have the lock: app[77/80] waits for a client: write on tcp socket to 127.0.0.1:36182 (descriptor 6), at 100 % of the looks"},
				Refute:   "it is elsewhere at a second look", Do: "find who has the lock: the stacks of the other threads show what it does with it"},
			{Cause: diagnose.SlowClient, Confidence: diagnose.Low, Summary: "app[77/80] waits for a client: 127.0.0.1:36182"},
		},
	}
}

func TestDiagnosisOnTerminals(t *testing.T) {
	for _, width := range []int{80, 200} {
		var out bytes.Buffer
		now := wall(0)
		p := printerAt(&out, &width, &now)
		p.Diagnosis(sampleDiagnosis())
		line := sampleDiagnosis()
		line.Full = false
		p.Diagnosis(line)
		line.Verdicts = []diagnose.Verdict{{Cause: diagnose.NothingWrong, Summary: "this is not shown"}}
		p.Diagnosis(line)
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(text, "\n")); n > width {
				t.Errorf("%d columns in a terminal of %d: %s", n, width, text)
			}
		}
		golden.Compare(t, "diagnosis_"+strconv.Itoa(width)+".txt", out.Bytes())
	}
}
