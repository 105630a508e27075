package listener

// Recent finds what belongs to the ID of a listener, if it was put in lately,
// faster than a map does: for what is looked up for each event. Its zero value is
// empty.
type Recent[T any] struct {
	slots [recentSlots]struct {
		id uint64
		of *T
	}
}

const (
	recentBits  = 11
	recentSlots = 1 << recentBits
)

// slotOf spreads IDs, which may be addresses (Fibonacci hashing).
func slotOf(id uint64) uint64 { return id * 0x9E3779B97F4A7C15 >> (64 - recentBits) }

// Get is nil if it is not known.
func (r *Recent[T]) Get(id uint64) *T {
	if s := &r.slots[slotOf(id)]; s.id == id {
		return s.of
	}
	return nil
}

// Put takes the place of what was there.
func (r *Recent[T]) Put(id uint64, of *T) {
	s := &r.slots[slotOf(id)]
	s.id, s.of = id, of
}

// Forget makes Get give nil.
func (r *Recent[T]) Forget(id uint64) {
	if s := &r.slots[slotOf(id)]; s.id == id {
		s.of = nil
	}
}
