package probe

import (
	"math/rand/v2"
	"os"
	"testing"

	"acceptwatch/internal/listener"
)

// The kernel and Go put a wait into the same bucket.
func TestBucketsAgree(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("ACCEPTWATCH_MODES") == "" {
		t.Skip("loading a program needs root")
	}
	var objects bucketObjects
	check(t, loadBucketObjects(&objects, nil))
	defer objects.Close()
	values := []uint64{0, 1, 1<<64 - 1}
	for shift := range 64 {
		for d := range uint64(3) {
			values = append(values, 1<<shift+d-1)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		values = append(values, r.Uint64()>>r.IntN(64))
	}
	packet := make([]byte, 14)
	for _, us := range values {
		check(t, objects.GivenUs.Set(us))
		if _, _, err := objects.PutInBucket.Test(packet); err != nil {
			t.Fatal(err)
		}
		var got uint32
		check(t, objects.Bucket.Get(&got))
		if want := listener.BucketOf(us); int(got) != want {
			t.Fatalf("%d µs is in bucket %d in C and %d in Go", us, got, want)
		}
	}
	if len(tracingHistogram{}.Buckets) != listener.Buckets {
		t.Errorf("%d buckets in C, %d in Go", len(tracingHistogram{}.Buckets), listener.Buckets)
	}
}
