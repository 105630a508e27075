package export

import (
	"encoding/csv"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// CSV writes events as a table with a line of titles (RFC 4180, but for lines
// that end with a line feed only). What is not known is an empty field; times
// are RFC 3339 in UTC with nanoseconds.
type CSV struct {
	out   *csv.Writer
	begun bool
	cells []string
}

// NewCSV makes a CSV.
func NewCSV(w io.Writer) *CSV { return &CSV{out: csv.NewWriter(w)} }

// Columns are the names of the columns of an EventRow, in their order.
func Columns() []string {
	var names []string
	for field := range reflect.TypeFor[EventRow]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("parquet"), ",")
		names = append(names, name)
	}
	return names
}

// Write writes a row.
func (c *CSV) Write(r *EventRow) error {
	if err := c.begin(); err != nil {
		return err
	}
	c.cells = c.cells[:0]
	row := reflect.ValueOf(r).Elem()
	for i := range row.NumField() {
		c.cells = append(c.cells, cell(row.Field(i)))
	}
	c.cells[0] = time.Unix(0, r.Time).UTC().Format(timeFormat)
	if err := c.out.Write(c.cells); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func (c *CSV) begin() error {
	if c.begun {
		return nil
	}
	c.begun = true
	if err := c.out.Write(Columns()); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func cell(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch {
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	}
	return v.String()
}

// Close writes what is left, the line of titles in any case.
func (c *CSV) Close() error {
	if err := c.begin(); err != nil {
		return err
	}
	c.out.Flush()
	if err := c.out.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}
