// Package demo makes the incident that acceptwatch is about, small and on
// loopback: a server whose only thread sits in one slow request, clients that
// queue, some of which give up by FIN and some by RST, a tracer that comes
// halfway through, and a server that resumes and finds dead peers.
//
// Because it knows what it made, connection by connection, it checks what the
// tracer reported: the demo is a test of the kernel that it runs on. It needs
// no privileges itself.
package demo
