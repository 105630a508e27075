package metrics

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// Label is a label that tells listeners apart.
type Label uint8

// The labels, in the order in which they are listed.
const (
	LabelListener  Label = iota // the bound address and port
	LabelPort                   // the port alone
	LabelNetNS                  // network namespace, by its inode
	LabelContainer              // id of the container of who holds it
	LabelPod                    // uid of the Kubernetes pod
	LabelUnit                   // of systemd
	LabelProcess                // name of who holds it
	labels
)

var labelNames = [labels]string{"listener", "port", "netns", "container", "pod", "unit", "process"}

func (l Label) String() string { return labelNames[l] }

// LabelNames are all that can be chosen.
func LabelNames() []string { return labelNames[:] }

// ParseLabels reads names of labels.
func ParseLabels(names []string) ([]Label, error) {
	var chosen []Label
	for _, name := range names {
		i := slices.Index(labelNames[:], strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("there is no label %q, choose from %s", name, strings.Join(labelNames[:], ", "))
		}
		if !slices.Contains(chosen, Label(i)) {
			chosen = append(chosen, Label(i))
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no label would tell listeners apart, choose from %s", strings.Join(labelNames[:], ", "))
	}
	return chosen, nil
}

// OfOwners says that some of the labels need to know who holds a listener.
func OfOwners(chosen []Label) bool {
	return slices.ContainsFunc(chosen, func(l Label) bool { return l >= LabelContainer })
}

// labelSet are the values of all labels; those not chosen are empty.
type labelSet [labels]string

// ofPlace are the values that are in a row itself.
func ofPlace(k *listener.Key) labelSet {
	var s labelSet
	s[LabelListener] = k.Addr.String()
	s[LabelPort] = strconv.Itoa(int(k.Addr.Port()))
	if k.NetNS != 0 {
		s[LabelNetNS] = strconv.FormatUint(uint64(k.NetNS), 10)
	}
	return s
}

// setOwners adds what the holders are: of several that differ, all values in
// order.
func (s *labelSet) setOwners(owners []owner.Process) {
	s[LabelContainer] = joined(owners, func(p *owner.Process) string { return p.Identity.Container })
	s[LabelPod] = joined(owners, func(p *owner.Process) string { return p.Identity.Pod })
	s[LabelUnit] = joined(owners, func(p *owner.Process) string { return p.Identity.Unit })
	s[LabelProcess] = joined(owners, func(p *owner.Process) string { return p.Comm })
}

func joined(owners []owner.Process, of func(*owner.Process) string) string {
	var values []string
	for i := range owners {
		// Names of processes may be any bytes, labels are UTF-8.
		if v := strings.ToValidUTF8(of(&owners[i]), "\uFFFD"); v != "" && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return strings.Join(values, ",")
}

// only leaves the chosen labels.
func (s labelSet) only(chosen []Label) labelSet {
	var kept labelSet
	for _, l := range chosen {
		kept[l] = s[l]
	}
	return kept
}

// others is the label set of what has no series of its own.
func others(chosen []Label) labelSet {
	var s labelSet
	at := chosen[0]
	if slices.Contains(chosen, LabelListener) {
		at = LabelListener
	}
	s[at] = "other"
	return s
}

// pairs are the labels as the client has them, sorted by name.
func (s *labelSet) pairs(chosen []Label) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, 0, len(chosen))
	for _, l := range chosen {
		pairs = append(pairs, pair(l.String(), s[l]))
	}
	sortPairs(pairs)
	return pairs
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

func sortPairs(pairs []*dto.LabelPair) {
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
}
