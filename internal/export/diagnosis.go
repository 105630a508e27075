package export

import (
	"time"

	"acceptwatch/internal/diagnose"
)

// AppendDiagnosis appends the line of a diagnosis, with a line feed. at is the
// time of day at the end of its span.
func AppendDiagnosis(b []byte, at time.Time, e *diagnose.Evidence, verdicts []diagnose.Verdict) []byte {
	return appendRecord(b, struct {
		Type     string             `json:"type"`
		Time     time.Time          `json:"time"`
		Listener string             `json:"listener"`
		NetNS    uint32             `json:"netns,omitempty"`
		Mode     string             `json:"mode"`
		Verdicts []diagnose.Verdict `json:"verdicts"`
		Evidence *diagnose.Evidence `json:"evidence"`
	}{"diagnosis", at.UTC(), e.Listener, e.NetNS, e.Mode, verdicts, e})
}
