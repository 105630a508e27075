// Computes in the goroutine that accepts.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
)

func collatz(from, to int) (longest int) {
	for n := from; n < to; n++ {
		steps := 0
		for x := n; x != 1; steps++ {
			if x%2 == 0 {
				x /= 2
			} else {
				x = 3*x + 1
			}
		}
		longest = max(longest, steps)
	}
	return longest
}

func main() {
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
		fmt.Fprintln(conn, collatz(1, 1<<40))
		conn.Close()
	}
}
