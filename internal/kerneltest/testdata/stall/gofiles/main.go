// A server with few descriptors that keeps its clients' connections open.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"syscall"
)

func main() {
	limit := syscall.Rlimit{Cur: 40, Max: 40}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			continue
		}
		go io.Copy(io.Discard, conn)
	}
}
