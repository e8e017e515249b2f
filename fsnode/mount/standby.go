package mount

import "golang.org/x/sys/unix"

// A server takes its time to start, which its clients would wait for: the next one is started while all is well, and waits
// for its turn.

// standBy starts the next server, in the background.
func (h *Holder) standBy() {
	era, image := h.era, h.image
	go func() {
		s, err := h.launch(image)
		if err != nil {
			h.Log.Warn().Err(err).Msg("no server stands by; one is started when it is needed")
			return
		}
		select {
		case h.orders <- func() { h.keepStandby(s, era) }:
		case <-h.over:
			s.kill()
		}
	}()
}

// keepStandby takes notice of a server that is prepared, unless there is one, or it is out of date.
func (h *Holder) keepStandby(s *served, era int) {
	if era != h.era || h.standby != nil && !h.standby.dead() {
		s.kill()
		return
	}
	h.standby = s
}

// next gives a server that is prepared.
func (h *Holder) next() (*served, error) {
	s := h.standby
	h.standby = nil
	if s == nil || s.dead() {
		return h.launch(h.image)
	}
	return s, nil
}

// dismiss ends the server that stands by, or is about to.
func (h *Holder) dismiss() {
	h.era++
	if s := h.standby; s != nil {
		h.standby = nil
		_ = unix.Kill(s.pid, unix.SIGKILL)
	}
}
