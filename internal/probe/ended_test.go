package probe

import "testing"

// A container that ends between two looks at which network namespaces there are is
// nothing that was not seen.
func TestANamespaceThatHasEndedIsNoLoss(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m})
		check(t, tr.Walk())
		before, blind := len(tr.walk.seen), tr.walk.unseen()
		inOtherNamespace(t, func() {
			leave := stayInNamespace(t)
			defer leave()
			tr.walk.listed = tr.walk.listed.Add(-namespacesEvery)
			check(t, tr.Walk())
			if len(tr.walk.seen) <= before {
				t.Fatalf("%d namespaces seen, and %d with another one", before, len(tr.walk.seen))
			}
		})
		check(t, tr.Walk())
		if now := tr.walk.unseen(); now > blind {
			t.Errorf("%d not seen, and %d when one has ended: %v", blind, now, tr.walk.lastError)
		}
	}, Fentry, Kprobe, Restricted)
}
