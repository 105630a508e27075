package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Fate is what a client does while it waits for its answer.
type Fate string

const (
	Stays Fate = "stays" // until the answer comes
	FIN   Fate = "fin"   // closes the connection
	RST   Fate = "rst"   // aborts the connection
)

// client is one connection, from the client's side.
type client struct {
	Client
	conn *net.TCPConn
}

// Client is what the demo knows of a connection that it queued.
type Client struct {
	Port         uint16 // the client's own
	Fate         Fate
	BeforeAttach bool // in the queue before the tracer came

	// The connection entered the queue between Dialled and shortly after
	// Connected, and left it between the end of the slow request and Accepted.
	Dialled, Connected, Accepted time.Time
	Found                        string // by the server on accept: alive, fin, rst
}

// connect opens a connection and sends a request. MPTCP is off: a queued MPTCP
// connection never reaches CLOSE_WAIT.
func connect(ctx context.Context, to netip.AddrPort, request string, fate Fate) (*client, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	c := &client{Client: Client{Fate: fate, Dialled: time.Now()}}
	conn, err := dialer.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return nil, fmt.Errorf("connect to the demo's server: %w", err)
	}
	c.Connected = time.Now()
	c.conn = conn.(*net.TCPConn)
	c.Port = c.conn.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	if _, err := c.conn.Write([]byte(request)); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("send a request: %w", err)
	}
	return c, nil
}

// giveUp ends the connection by its fate.
func (c *client) giveUp() error {
	switch c.Fate {
	case RST:
		if err := c.conn.SetLinger(0); err != nil {
			return fmt.Errorf("set a client up for RST: %w", err)
		}
		return c.conn.Close()
	case FIN:
		return c.conn.Close()
	default:
		return nil
	}
}

// await reads the answer, for a limited time, and closes.
func (c *client) await(ctx context.Context, limit time.Duration) error {
	defer c.conn.Close()
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("limit the wait for an answer: %w", err)
	}
	if _, err := io.ReadFull(c.conn, make([]byte, len(answer))); err != nil {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	return nil
}
