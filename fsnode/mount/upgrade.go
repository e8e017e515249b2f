package mount

import (
	"encoding/json"
	"time"
)

// News is what is told of the mount to who asks for it.
type News struct {
	At     time.Time `json:"at"`
	Failed string    `json:"failed,omitempty"` // why the last upgrade did not come about
}

// Upgrade puts the program that is there now to work, under way. If it does not come up, the old server goes on.
func (h *Holder) Upgrade() {
	h.orders <- h.upgrade
}

func (h *Holder) upgrade() {
	started, before, image := time.Now(), h.current, h.image
	s, err := h.launchNew()
	if err != nil {
		h.Log.Error().Err(err).Msg("the new server does not come up; the old one goes on")
		h.tell(before, News{At: started, Failed: err.Error()})
		return
	}
	h.replace(before)
	h.vacate()
	if err := h.takeOver(s); err != nil {
		h.Log.Error().Err(err).Msg("the new server failed when it took over; the old program goes on")
		s.kill()
		h.image = image
		h.dismiss()
		h.restart()
		h.standBy()
		h.tell(h.current, News{At: started, Failed: err.Error()})
		return
	}
	h.dismiss()
	h.standBy()
	h.tell(s, News{At: started})
	h.Log.Info().Int("server", s.pid).Dur("took", time.Since(started)).Msg("upgraded")
}

// launchNew launches the program that is at its path now. If that fails, the image is the one before.
func (h *Holder) launchNew() (*served, error) {
	before := h.image
	if err := h.openProgram(); err != nil {
		return nil, err
	}
	s, err := h.launch(h.image)
	if err != nil {
		h.image = before
	}
	return s, err
}

// replace ends a server. What it has not answered when it ends is sent again to the next one.
func (h *Holder) replace(s *served) {
	s.replaced = true
	_ = s.link.say(sayQuit, 0, nil)
	select {
	case <-s.exited:
		<-s.deaf
	case <-time.After(2 * drainWithin):
		s.kill()
	}
}

func (h *Holder) tell(s *served, n News) {
	body, err := json.Marshal(n)
	if err == nil {
		_ = s.link.say(sayNews, 0, body)
	}
}
