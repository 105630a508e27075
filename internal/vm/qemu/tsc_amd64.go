package qemu

import "time"

// rdtsc reads the processor's time stamp counter.
func rdtsc() int64

// hostTSC measures the frequency of this host's time stamp counter, in kHz,
// within some ppm however busy the host is. It takes 50 ms.
func hostTSC() int64 {
	const apart = 50 * time.Millisecond
	start := time.Now()
	ticks1, at1 := readTogether(start)
	time.Sleep(apart)
	ticks2, at2 := readTogether(start)
	return int64(float64(ticks2-ticks1) / (at2 - at1).Seconds() / 1000)
}

// readTogether reads the counter and the time since start at nearly the same
// moment: of several tries, that in which the least time passed.
func readTogether(start time.Time) (ticks int64, at time.Duration) {
	least := time.Hour
	for range 100 {
		before := time.Since(start)
		now := rdtsc()
		after := time.Since(start)
		if after-before < least {
			least, ticks, at = after-before, now, before+(after-before)/2
		}
	}
	return ticks, at
}
