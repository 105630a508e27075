package metrics

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"acceptwatch/internal/listener"
)

const (
	// schema is that of the native histogram: 1<<schema buckets a power of two,
	// each up to 1.09 times the one before.
	schema = 3
	// zeroThreshold is 0.95 µs: waits that are 0 µs in the kernel's resolution.
	// It is the lower bound of the native bucket that 1 µs is in.
	zeroThreshold = 1.0 / (1 << 20)
	// widest gap between native buckets that is filled with empty ones, which
	// takes less than to begin another span.
	widestGap = 2
)

// classicBounds are those of the classic histogram, in seconds, inclusive.
var classicBounds = [...]float64{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30}

// where is where a bucket of the kernel goes.
type where struct {
	seconds float64 // its middle
	native  int32   // index of the native bucket; of bucket 0, which is zero, none
	classic int     // index of classicBounds; len: above all
}

// wheres maps each bucket of the kernel.
type wheres [listener.Buckets]where

func newWheres() *wheres {
	var all wheres
	for i := range all {
		w := &all[i]
		w.seconds = listener.BucketMiddle(i).Seconds()
		for w.classic < len(classicBounds) && w.seconds > classicBounds[w.classic] {
			w.classic++
		}
		if i > 0 {
			w.native = int32(math.Ceil(math.Log2(w.seconds) * (1 << schema)))
		}
	}
	return &all
}

// histogram makes both histograms of waits, in one message.
func (all *wheres) histogram(h *listener.Histogram) *dto.Histogram {
	var (
		count, zero uint64
		sum         float64
		classic     [len(classicBounds)]uint64
		native      nativeBuckets
	)
	for i, n := range h.All() {
		w := &all[i]
		count += n
		sum += float64(n) * w.seconds
		if w.classic < len(classic) {
			classic[w.classic] += n
		}
		if i == 0 {
			zero += n
		} else {
			native.add(w.native, n)
		}
	}
	native.flush()
	out := &dto.Histogram{
		SampleCount: &count, SampleSum: &sum, Bucket: make([]*dto.Bucket, len(classic)),
		Schema: new(int32(schema)), ZeroThreshold: new(float64(zeroThreshold)), ZeroCount: &zero,
		PositiveSpan: native.spans, PositiveDelta: native.deltas,
	}
	buckets := make([]dto.Bucket, len(classic))
	counts := make([]uint64, len(classic))
	var below uint64
	for i := range classic {
		below += classic[i]
		counts[i] = below
		buckets[i].CumulativeCount, buckets[i].UpperBound = &counts[i], &classicBounds[i]
		out.Bucket[i] = &buckets[i]
	}
	return out
}

// nativeBuckets encodes the buckets that are not empty, which come in order.
type nativeBuckets struct {
	spans  []*dto.BucketSpan
	deltas []int64
	at     int32 // index of the bucket that is being filled
	n      uint64
	next   int32 // index after the last bucket that was written
	last   int64 // its count
}

func (b *nativeBuckets) add(index int32, n uint64) {
	if index != b.at {
		b.flush()
		b.at = index
	}
	b.n += n
}

func (b *nativeBuckets) flush() {
	if b.n == 0 {
		return
	}
	gap := b.at - b.next
	if len(b.spans) == 0 || gap > widestGap {
		b.spans = append(b.spans, &dto.BucketSpan{Offset: new(gap), Length: new(uint32(0))})
		gap = 0
	}
	for range gap {
		b.write(0)
	}
	b.write(int64(b.n))
	b.next, b.n = b.at+1, 0
}

func (b *nativeBuckets) write(n int64) {
	b.deltas = append(b.deltas, n-b.last)
	b.last = n
	*b.spans[len(b.spans)-1].Length++
}

// waits is a native and a classic histogram in one metric.
type waits struct {
	desc      *prometheus.Desc
	labels    []*dto.LabelPair
	histogram *dto.Histogram // to read only
}

func (w *waits) Desc() *prometheus.Desc { return w.desc }

func (w *waits) Write(m *dto.Metric) error {
	m.Label, m.Histogram = w.labels, w.histogram
	return nil
}
