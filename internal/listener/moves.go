package listener

// Moves hears when counts go from where they were told to another row, so that who
// has taken them into account does not do so again. It is called by Update, and by
// Apply when so many listeners have closed that rows are folded at once.
type Moves interface {
	// Absorbed is called when a row has been added to another one, and is no more:
	// a listener became known at its address, or there are too many rows. A row of
	// that name that comes later is a new one.
	Absorbed(from, into RowName)
	// Tied is called when a row has taken over failed calls of accept() that
	// AcceptErrors gave before, of one process.
	Tied(calls AcceptFailures, into RowName)
}

// Report tells moves from now on.
func (t *Table) Report(moves Moves) { t.moves = moves }

func (t *Table) absorbed(from, into *row) {
	if t.moves != nil {
		t.moves.Absorbed(t.nameOf(from), t.nameOf(into))
	}
}

func (t *Table) tied(calls AcceptFailures, into *row) {
	if t.moves != nil && calls.Count > 0 {
		t.moves.Tied(calls, t.nameOf(into))
	}
}

func (t *Table) nameOf(r *row) RowName { return RowName{r.key, r == t.other} }
