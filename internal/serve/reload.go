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
	s.processes.SetHelpers(c.Helpers)
	s.log.Info().Msg("configuration read again")
}
