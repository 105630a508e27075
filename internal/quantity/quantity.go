// Package quantity writes counts with their words.
package quantity

import (
	"regexp"
	"strconv"
	"strings"
)

// Integer is what things are counted in.
type Integer interface {
	uint16 | uint32 | uint64 | int | int64
}

// Count writes n with separators: "12,431".
func Count[N Integer](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	var b []byte
	for i, digit := range []byte(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b = append(b, ',')
		}
		b = append(b, digit)
	}
	return string(b)
}

// Plural writes a count and its noun: "1 event", "12,431 events". The plural
// adds an s, or es to an s.
func Plural[N Integer](n N, noun string) string {
	if strings.HasSuffix(noun, "s") {
		return Of(n, noun+"[|es]")
	}
	return Of(n, noun+"[|s]")
}

// Of writes a count and the words that Agree chooses.
func Of[N Integer](n N, text string) string { return Count(n) + " " + Agree(n, text) }

var forms = regexp.MustCompile(`\[([^][|]*)\|([^][|]*)\]`)

// Agree chooses the words that go with a count, in a text that has both: of
// "event[|s] [was|were] lost", it is "event was lost" with one, and "events were
// lost" with any other number.
func Agree[N Integer](n N, text string) string {
	if n == 1 {
		return forms.ReplaceAllString(text, "$1")
	}
	return forms.ReplaceAllString(text, "$2")
}
