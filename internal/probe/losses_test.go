package probe

import (
	"strings"
	"testing"

	"acceptwatch/internal/listener"
)

func TestLossesAgreeWithTheirNumber(t *testing.T) {
	for kind := range tracingLoss(tracingLossLOSS_KINDS) {
		what, text := lossWords(kind)
		one, many := listener.Loss{What: what, Text: text, Count: 1}.String(), listener.Loss{What: what, Text: text, Count: 2}.String()
		if strings.TrimPrefix(one, "1") == strings.TrimPrefix(many, "2") || strings.ContainsAny(one+many, "[|]") {
			t.Errorf("%s: %q and %q", what, one, many)
		}
	}
}
