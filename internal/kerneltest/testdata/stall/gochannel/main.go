// Hands connections to workers, which never come back from their backend.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
)

func worker(jobs <-chan net.Conn) {
	for conn := range jobs {
		backend, err := net.Dial("tcp", "127.0.0.1:"+os.Getenv("BACKEND"))
		if err != nil {
			conn.Close()
			continue
		}
		fmt.Fprintln(backend, "question")
		answer, _ := bufio.NewReader(backend).ReadString('\n')
		fmt.Fprint(conn, answer)
		conn.Close()
	}
}

func main() {
	jobs := make(chan net.Conn)
	for range 4 {
		go worker(jobs)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		jobs <- conn
	}
}
