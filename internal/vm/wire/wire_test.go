package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestFramesArriveAsSent(t *testing.T) {
	host, guest := net.Pipe()
	sent := []Frame{
		{Ready, []byte(`{}`)}, {Stdout, nil}, {Stderr, []byte("x")},
		{FileData, bytes.Repeat([]byte{0, 255, '\n'}, 1000)}, {FileEnd, nil}, {Exit, []byte(`{"Code":7}`)},
	}
	go func() {
		defer guest.Close()
		w := NewWriter(guest)
		for _, f := range sent {
			if err := w.Write(f.Kind, f.Payload); err != nil {
				t.Error(err)
			}
		}
	}()
	r := NewReader(host)
	for i, want := range sent {
		got, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind != want.Kind || !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("frame %d is %d with %d bytes, want %d with %d", i, got.Kind, len(got.Payload), want.Kind, len(want.Payload))
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last frame: %v, want EOF", err)
	}
}

// Streams of several goroutines share a writer: frames never mix.
func TestStreamsDoNotMix(t *testing.T) {
	host, guest := net.Pipe()
	const size = 10 << 20
	want := map[Kind][]byte{
		Stdout: bytes.Repeat([]byte("stdout, "), size/8),
		Stderr: bytes.Repeat([]byte("err"), size/64),
	}
	go func() {
		w := NewWriter(guest)
		var writers sync.WaitGroup
		for kind, data := range want {
			writers.Go(func() {
				if n, err := w.Stream(kind).Write(data); n != len(data) || err != nil {
					t.Errorf("write: %d, %v", n, err)
				}
			})
		}
		writers.Wait()
		guest.Close()
	}()
	got := map[Kind][]byte{}
	for r := NewReader(host); ; {
		f, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got[f.Kind] = append(got[f.Kind], f.Payload...)
	}
	for kind := range want {
		if sha256.Sum256(got[kind]) != sha256.Sum256(want[kind]) {
			t.Errorf("kind %d: got %d bytes that differ from the %d sent", kind, len(got[kind]), len(want[kind]))
		}
	}
}

func TestJobSurvivesTheWire(t *testing.T) {
	want := Job{Argv: []string{"sh", "-c", "a\x00é"}, Env: []string{"A=b=c"}, Dir: "/root", Stdin: true, Fetch: []string{"/tmp/*"}}
	var wire bytes.Buffer
	if err := NewWriter(&wire).WriteJSON(Start, want); err != nil {
		t.Fatal(err)
	}
	f, err := NewReader(&wire).Next()
	if err != nil {
		t.Fatal(err)
	}
	var got Job
	if err := f.Decode(&got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func header(kind byte, size uint32) string {
	return string(binary.LittleEndian.AppendUint32([]byte{kind}, size))
}

func TestBadFramesAreTold(t *testing.T) {
	tests := []struct {
		name, input string
		truncated   bool // else a FormatError
	}{
		{"part of a header", header(byte(Stdout), 9)[:3], true},
		{"no payload", header(byte(Stdout), 9), true},
		{"part of a payload", header(byte(Stdout), 9) + "abc", true},
		{"unknown kind", header(99, 0), false},
		{"kind zero", header(0, 0), false},
		{"too large", header(byte(Stdout), MaxPayload+1), false},
	}
	for _, test := range tests {
		_, err := NewReader(strings.NewReader(test.input)).Next()
		var format *FormatError
		if test.truncated && !errors.Is(err, io.ErrUnexpectedEOF) || !test.truncated && !errors.As(err, &format) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := NewWriter(io.Discard).Write(Stdout, make([]byte, MaxPayload+1)); err == nil {
		t.Error("a payload over the limit was written")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(header(byte(Stdout), 2) + "hi" + header(byte(Exit), 2) + "{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		var copied bytes.Buffer
		w := NewWriter(&copied)
		for {
			frame, err := r.Next()
			if err != nil {
				break
			}
			if err := w.Write(frame.Kind, frame.Payload); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(data, copied.Bytes()) {
			t.Error("written frames differ from those read")
		}
	})
}
