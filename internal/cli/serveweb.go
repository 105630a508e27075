package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/metrics"
)

const (
	// mostScrapes is how many scrapes are answered at a time; others get 503.
	mostScrapes = 8
	// Bounds for a client that sends and reads slowly.
	readTimeout  = 10 * time.Second
	writeTimeout = time.Minute
	idleTimeout  = 5 * time.Minute
	// stopTimeout is how long answers under way may take at the end.
	stopTimeout = time.Second
)

// server answers scrapers, at all addresses.
type server struct {
	log       *slog.Logger
	web       web.FlagConfig
	listeners []net.Listener
	servers   []*http.Server // one a listener: the toolkit changes them
	running   sync.WaitGroup
	stopping  sync.Once
}

// newServer listens, but does not answer yet.
func (a *app) newServer(s *scrapes, o *serveOptions) (*server, error) {
	handler, err := newHandler(s)
	if err != nil {
		return nil, err
	}
	w := &server{
		log: slog.New(zerolog.NewSlogHandler(a.log.Level(zerolog.WarnLevel))),
		web: web.FlagConfig{WebConfigFile: &o.webConfig},
	}
	for _, at := range o.listen {
		l, err := net.Listen("tcp", at)
		if err != nil {
			w.close()
			return nil, listenError(at, err)
		}
		w.listeners = append(w.listeners, l)
		w.servers = append(w.servers, &http.Server{
			Handler: handler, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn),
			ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		})
	}
	return w, nil
}

// firstFreePort is the first one that needs no privilege (ip(7),
// ip_unprivileged_port_start), unless a host has it otherwise.
const firstFreePort = 1024

// listenError says why an address cannot be listened at, and what to do.
func listenError(at string, err error) error {
	says := fmt.Errorf("serve metrics at %s: %w", at, err)
	if !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w; choose another address by --listen", says)
	}
	_, name, _ := net.SplitHostPort(at) // which has been checked
	if port, _ := net.LookupPort("tcp", name); port < firstFreePort {
		return unavailable(says, "choose a port from 1024 on by --listen, as others take CAP_NET_BIND_SERVICE")
	}
	return unavailable(says, "a security module (SELinux, AppArmor) may refuse that port, or net.ipv4.ip_unprivileged_port_start: allow it, or choose another by --listen")
}

// announce tells the addresses.
func (w *server) announce(log *zerolog.Logger) {
	for _, l := range w.listeners {
		log.Info().Str("address", l.Addr().String()).Str("path", "/metrics").Msg("serving")
	}
}

func (w *server) close() {
	for _, l := range w.listeners {
		_ = l.Close() // nobody was served
	}
}

// start answers, until stop. If that fails it calls failed.
func (w *server) start(failed context.CancelCauseFunc) {
	for i, l := range w.listeners {
		w.running.Go(func() {
			if err := web.Serve(l, w.servers[i], &w.web, w.log); !errors.Is(err, http.ErrServerClosed) {
				failed(fmt.Errorf("serve metrics at %s: %w", l.Addr(), err))
			}
		})
	}
}

// stop ends, within about a second. It may be called again.
func (w *server) stop() {
	w.stopping.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		for _, s := range w.servers {
			w.running.Go(func() {
				if s.Shutdown(ctx) != nil {
					_ = s.Close() // what it could not wait for
				}
			})
		}
		w.close()
		w.running.Wait()
	})
}

// newHandler answers scrapes and health checks.
func newHandler(s *scrapes) (http.Handler, error) {
	mux := http.NewServeMux()
	registry := metrics.NewRegistry(metrics.NewCollector(s.book, s.latest))
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		// Nothing rather than a part: a scrape that fails shows as up 0.
		ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: mostScrapes, CoalesceGather: true,
	}))
	mux.HandleFunc("/-/healthy", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "acceptwatch is running") })
	mux.HandleFunc("/-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if s.ready() {
			say(w, http.StatusOK, "acceptwatch is attached, and looking works")
		} else {
			say(w, http.StatusServiceUnavailable, "acceptwatch is not attached, or looking does not work")
		}
	})
	page, err := web.NewLandingPage(web.LandingConfig{
		Name: "acceptwatch", Description: "TCP accept queues of this host, for Prometheus", Version: toolVersion(), Profiling: "false",
		Links: []web.LandingLinks{
			{Address: "/metrics", Text: "Metrics"}, {Address: "/-/ready", Text: "Ready", Description: "attached, and looking works"},
			{Address: "/-/healthy", Text: "Healthy", Description: "the process lives"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the first page: %w", err)
	}
	mux.Handle("/", page)
	return mux, nil
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // who asked may be gone
}
