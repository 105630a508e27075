package diagnose

import "encoding/json"

// Maybe is a value that may not be known. The zero value is not known, which is
// never the same as 0: with the tag omitzero it is left out of JSON.
type Maybe[T any] struct {
	value T
	known bool
}

// Known is a value that is known.
func Known[T any](v T) Maybe[T] { return Maybe[T]{v, true} }

// Get gives the value, and whether it is known.
func (m Maybe[T]) Get() (T, bool) { return m.value, m.known }

// Or is the value, or another one if it is not known.
func (m Maybe[T]) Or(other T) T {
	if m.known {
		return m.value
	}
	return other
}

// IsZero says that the value is not known.
func (m Maybe[T]) IsZero() bool { return !m.known }

// MarshalJSON writes the value, or null if it is not known.
func (m Maybe[T]) MarshalJSON() ([]byte, error) {
	if !m.known {
		return []byte("null"), nil
	}
	return json.Marshal(m.value)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Maybe[T]) UnmarshalJSON(b []byte) error {
	*m = Maybe[T]{}
	if string(b) == "null" {
		return nil
	}
	if err := json.Unmarshal(b, &m.value); err != nil {
		return err
	}
	m.known = true
	return nil
}
