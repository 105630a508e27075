package export

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// rowGroup is how many rows a row group has, and so how many are in memory.
const rowGroup = 1 << 16

// Parquet writes events as a Parquet file: one table with the columns of
// EventRow, compressed with zstd. Nothing is valid before Close.
type Parquet struct {
	out   *parquet.GenericWriter[EventRow]
	batch []EventRow
	rows  int // of the row group
}

// NewParquet makes a Parquet.
func NewParquet(w io.Writer) *Parquet {
	return &Parquet{out: parquet.NewGenericWriter[EventRow](w,
		parquet.Compression(&parquet.Zstd), parquet.CreatedBy("acceptwatch", "", ""))}
}

// Write writes a row.
func (p *Parquet) Write(r *EventRow) error {
	p.batch = append(p.batch, *r)
	if len(p.batch) < 1<<10 {
		return nil
	}
	return p.flush()
}

func (p *Parquet) flush() error {
	if _, err := p.out.Write(p.batch); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	p.rows += len(p.batch)
	clear(p.batch)
	p.batch = p.batch[:0]
	if p.rows < rowGroup {
		return nil
	}
	p.rows = 0
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// Close writes the rest and the footer.
func (p *Parquet) Close() error {
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}
