package top

import "math"

// historyPoints is how many intervals are remembered of each listener: three
// minutes of seconds, in 3.6 kB of those that are used.
const historyPoints = 180

// point is one interval of a listener. Waits are in µs.
type point struct {
	depth         uint32 // entries at its end
	accepted      uint32 // a second, in tenths
	p50, p99, max uint32 // of these
}

// history is the last intervals of a listener, in a ring. One of which nothing
// is to be told takes nothing.
type history struct {
	points []point
	next   int // of points, when it is full
	idle   int // points since there was anything to tell
}

func (h *history) add(p point) {
	if p == (point{}) {
		h.idle++
		if h.points == nil {
			return
		}
		if h.idle >= historyPoints {
			*h = history{}
			return
		}
	} else {
		h.idle = 0
	}
	if len(h.points) < historyPoints {
		h.points = append(h.points, p)
		return
	}
	h.points[h.next] = p
	h.next = (h.next + 1) % historyPoints
}

// each calls fn with the points, the oldest first.
func (h *history) each(fn func(*point)) {
	for i := range h.points {
		fn(&h.points[(h.next+i)%len(h.points)])
	}
}

// columns are at most width values, of which each is the greatest of equally
// many points, the last of them the latest. A history that is shorter than span
// points ends at the right all the same.
func (h *history) columns(width, span int, value func(*point) uint32) []uint32 {
	if width <= 0 || len(h.points) == 0 {
		return nil
	}
	each := max(1, (min(span, historyPoints)+width-1)/width)
	list := make([]uint32, (len(h.points)+each-1)/each)
	from := len(list)*each - len(h.points) // that the first column lacks
	h.each(func(p *point) {
		list[from/each] = max(list[from/each], value(p))
		from++
	})
	return list
}

func depthOf(p *point) uint32    { return p.depth }
func acceptedOf(p *point) uint32 { return p.accepted }
func p50Of(p *point) uint32      { return p.p50 }
func p99Of(p *point) uint32      { return p.p99 }
func maxOf(p *point) uint32      { return p.max }

// greatest is the greatest of the values that are left.
func (h *history) greatest(value func(*point) uint32) (most uint32) {
	h.each(func(p *point) { most = max(most, value(p)) })
	return most
}

func clamp(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }
