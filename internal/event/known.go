package event

// DepthKnown says whether the event tells of the queue's depth and backlog. A
// dead connection is still queued, so 0 means that its listener is not known;
// an accept whose exit was not seen leaves an unknown number behind; a failed
// accept() may be of a listener that could not be read.
func (e *Event) DepthKnown() bool {
	switch e.Kind {
	case CloseWait, Reset, Queued:
		return e.Depth != 0
	case Accepted:
		return e.Flags&ExitUnseen == 0
	case AcceptError:
		return e.Depth != 0 || e.Backlog != 0
	}
	return true
}

// WasQueued says that the event is about one connection that is, or was, in a
// queue.
func (e *Event) WasQueued() bool {
	switch e.Kind {
	case Accepted, CloseWait, Reset, Purged, Queued:
		return true
	}
	return false
}
