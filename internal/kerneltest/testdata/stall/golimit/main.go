// An HTTP server that takes at most three connections, which clients keep open.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
)

type limited struct {
	net.Listener
	places chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &place{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

type place struct {
	net.Conn
	leave func()
}

func (p *place) Close() error {
	p.leave()
	return p.Conn.Close()
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(&limited{l, make(chan struct{}, 3)}, http.NotFoundHandler()))
}
