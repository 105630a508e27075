package ui

import (
	"fmt"
	"strings"

	"acceptwatch/internal/listener"
)

// accepted says how long the accepted connections waited, and where accept() is not
// watched, of how many of them that is known.
func accepted(l *Listener) string {
	text := waits(&l.Wait, l.Folded)
	if !l.Sampled {
		return text
	}
	if seen := SeenWaiting(l.Seen, l.Accepted); text == "" {
		text = seen
	} else if seen != "" {
		text = seen + ": " + strings.TrimPrefix(text, "waited ")
	}
	if l.AtLeast {
		if text != "" {
			text += "; "
		}
		text += "at least: " + leastText
	}
	return text
}

// SeenWaiting says, where accept() is not watched, how many of the accepted
// connections a look had caught in the queue: their waits are known, and they are
// the longest. It is empty if none was accepted.
func SeenWaiting(seen, accepted uint64) string {
	switch {
	case accepted == 0:
		return ""
	case seen == 0:
		return "none of them seen waiting"
	case seen == accepted:
		return "all of them seen waiting"
	}
	return Count(seen) + " of them seen waiting"
}

// leastText is why a count of accepted connections is only known to be so at least.
const leastText = "those that came by MPTCP, or shortly before the listener was closed, may be missing"

func waits(w *listener.Waits, folded bool) string {
	if w.Count == 0 {
		if w.Max == 0 {
			return ""
		}
		return "waited at most " + Duration(w.Max)
	}
	text := fmt.Sprintf("waited p50 %s, p90 %s, p99 %s, max %s",
		Duration(w.P50), Duration(w.P90), Duration(w.P99), Duration(w.Max))
	if folded {
		text += " (with waits of other listeners: there was no histogram left for this one)"
	}
	return text
}
