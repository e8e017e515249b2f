package serve

import (
	"errors"

	"sessionlockfs/internal/config"
)

// errDeny is why a configuration is not taken over: files that are open may have pages in
// the cache, or be mapped, which no refusal reaches.
var errDeny = errors.New(`guard = "deny" needs a new mount`)

// reload reads the configuration again. If it can't be had, the one that is there stays.
func (s *server) reload() {
	c, err := config.Load(s.config.Settings)
	if err == nil && !c.Policy.DeniesNoMoreThan(&s.config.Config.Policy) {
		err = errDeny
	}
	if err != nil {
		s.log.Error().Err(err).Msg("the configuration is not read again; the one before it stays")
		return
	}
	s.fs.Locks.SetPolicy(s.policy(c))
	s.config.Config = c
	s.end.Remains.SetDenies(c.Policy.Denies())
	s.processes.SetHelpers(c.Helpers)
	s.log.Info().Msg("configuration read again")
}

// denyNoMore has a server that takes over refuse no more writes than the mount may: it has read the configuration by itself, and what was
// opened under the server before can't be kept from writing.
func (s *server) denyNoMore() {
	policy := &s.config.Config.Policy
	if _, began := s.end.Remains.Began(); !began {
		s.end.Remains.SetDenies(policy.Denies())
	} else if policy.Denies() && !s.end.Remains.Denies() {
		*policy = policy.WithoutDeny()
		s.log.Error().Err(errDeny).Msg("writes are reported and not refused")
	}
}
