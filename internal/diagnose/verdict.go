package diagnose

import "slices"

// Cause is why connections are not accepted.
type Cause string

// The causes. A text is what a person reads.
const (
	NothingWrong     Cause = "nothing_wrong"
	CannotTell       Cause = "cannot_tell"
	DescriptorLeak   Cause = "descriptor_leak"
	OutOfDescriptors Cause = "out_of_descriptors"
	Stopped          Cause = "stopped"
	Traced           Cause = "traced"
	Frozen           Cause = "frozen"
	Throttled        Cause = "throttled"
	Starved          Cause = "starved"
	Reclaim          Cause = "reclaim"
	Lock             Cause = "lock"
	Disk             Cause = "disk"
	Downstream       Cause = "downstream"
	DNS              Cause = "dns"
	SlowClient       Cause = "slow_client"
	Sleeping         Cause = "sleeping"
	Child            Cause = "child"
	CPU              Cause = "cpu"
	GC               Cause = "gc"
	EventLoop        Cause = "event_loop"
	AcceptorGone     Cause = "acceptor_gone"
	AcceptorParked   Cause = "acceptor_parked"
	Pool             Cause = "pool"
	AcceptMutex      Cause = "accept_mutex"
	ThunderingHerd   Cause = "thundering_herd"
	BacklogTooSmall  Cause = "backlog_too_small"
	Somaxconn        Cause = "somaxconn"
)

// Confidence is how sure a verdict is.
type Confidence int

const (
	Low Confidence = iota + 1
	Medium
	High
)

// String is low, medium or high.
func (c Confidence) String() string {
	switch c {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return "none"
}

// MarshalText writes String.
func (c Confidence) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Verdict is a cause that the evidence speaks for.
type Verdict struct {
	Cause      Cause      `json:"cause"`
	Confidence Confidence `json:"confidence"`
	// Summary is the verdict in one sentence, without a full stop.
	Summary string `json:"summary"`
	// Evidence is what it rests on, a line each.
	Evidence []string `json:"evidence,omitempty"`
	// Refute is what one would see if it were wrong, and Do what to do.
	Refute string `json:"would_refute,omitempty"`
	Do     string `json:"what_to_do,omitempty"`
	// Missing is what could not be seen, of a verdict that cannot tell.
	Missing []string `json:"missing,omitempty"`
}

// Names says whether the verdict names a cause.
func (v *Verdict) Names() bool { return v.Cause != NothingWrong && v.Cause != CannotTell }

// Judge gives the verdicts on evidence, the likeliest first; at least one. With
// equal confidence, what explains the other comes first: a process that is
// stopped waits for nothing else.
func Judge(e *Evidence) []Verdict {
	c := reason(e)
	var all []Verdict
	for _, rule := range Rules() {
		if v := rule.judge(c); v != nil {
			all = append(all, *v)
		}
	}
	if len(all) == 0 {
		return []Verdict{c.unexplained()}
	}
	slices.SortStableFunc(all, func(a, b Verdict) int { return int(b.Confidence) - int(a.Confidence) })
	return all
}

// Rule recognises one cause.
type Rule struct {
	Name string
	Text string // what it looks for, a sentence
	// judge gives its verdict; nil: the evidence does not speak for the cause.
	judge func(*reasoning) *Verdict
}

// Rules are all rules, in the order in which one explains those after it.
func Rules() []Rule {
	return slices.Concat(healthRules(), descriptorRules(), haltRules(), resourceRules(), crowdRules(), waitRules(), computeRules(), absenceRules(), roomRules())
}
