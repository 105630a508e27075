package metrics

import (
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"acceptwatch/internal/listener"
)

// crowd is a look at 10,000 listeners that have accepted, each 200 connections
// after 10 µs to 10 s.
func crowd() *Look {
	rng := rand.New(rand.NewPCG(1, 2))
	l := look()
	for i := range 10000 {
		r := busy(numbered(i))
		r.Wait.Histogram = &listener.Histogram{}
		for range 200 {
			r.Wait.Histogram.Add(time.Duration(float64(10*time.Microsecond) * (1 + rng.ExpFloat64()*rng.ExpFloat64()*50)))
		}
		l.Rows = append(l.Rows, r)
	}
	return l
}

// What a look costs of whose listeners everything has changed, or nothing.
func BenchmarkTake10000Listeners(b *testing.B) {
	for _, idle := range []bool{false, true} {
		b.Run(map[bool]string{false: "busy", true: "idle"}[idle], func(b *testing.B) {
			book := NewBook(Options{Most: 10000})
			l := crowd()
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for i := range l.Rows {
					if !idle {
						w := &l.Rows[i].Wait
						w.Histogram = w.Histogram.Clone()
						w.Histogram.Add(time.Millisecond)
					}
				}
				l.Time += 15 * second
				b.StartTimer()
				book.Take(l)
			}
		})
	}
}

// What a scrape of them costs, without the look.
func BenchmarkScrape10000Listeners(b *testing.B) {
	book := NewBook(Options{Most: 10000})
	all := book.Take(crowd())
	registry := NewRegistry(NewCollector(book, func() ([]prom.Metric, error) { return all, nil }))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	for name, header := range map[string][2]string{
		"text":      {"text/plain", "identity"},
		"text-gzip": {"text/plain", "gzip"},
		"native":    {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "identity"},
	} {
		b.Run(name, func(b *testing.B) {
			request := httptest.NewRequestWithContext(b.Context(), "GET", "/metrics", nil)
			request.Header.Set("Accept", header[0])
			request.Header.Set("Accept-Encoding", header[1])
			b.ReportAllocs()
			size := int64(0)
			for b.Loop() {
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, request)
				size, _ = io.Copy(io.Discard, answer.Body)
			}
			b.ReportMetric(float64(size), "bytes/scrape")
		})
	}
}
