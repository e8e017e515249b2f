package cli

import (
	"slices"
	"time"

	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
)

const (
	lookBackFor = 24 * time.Hour // for what happened to a lock that nobody holds
	before      = time.Minute    // how long before a grant is looked at: why it could be granted
	mostRecent  = 5
	mostRefused = 3
)

// lookBack finds out what happened to the lock of late.
func (a *Answer) lookBack(q *question) {
	since := a.At.Add(-lookBackFor)
	if a.Known != nil && a.Known.CreatedAt.Before(since) {
		since = a.Known.CreatedAt.Add(-before)
	}
	past, err := q.history(since)
	if err != nil {
		a.EventsError = err.Error()
	}
	a.remember(past)
}

// remember sorts what happened into what was refused since the grant, and the rest.
func (a *Answer) remember(past []events.Event) {
	a.Watched, a.Refused, a.Recent = true, []Refusals{}, []events.Event{}
	for _, ev := range past {
		ofGrant := a.Known != nil && ev.Token != 0 && ev.Token == uint64(a.Known.Token)
		switch {
		case ofGrant && isRefusal(ev):
			a.Refused = addRefusal(a.Refused, ev)
			continue
		case ofGrant && ev.Event == lockmgr.Unwatched.String():
			a.Watched = false
		}
		a.Recent = append(a.Recent, ev)
	}
	slices.SortStableFunc(a.Refused, func(x, y Refusals) int { return x.Last.Compare(y.Last) })
	a.Refused = a.Refused[max(0, len(a.Refused)-mostRefused):]
	a.Recent = a.Recent[max(0, len(a.Recent)-mostRecent):]
}

func isRefusal(ev events.Event) bool {
	return ev.Event == lockmgr.Refused.String() || ev.Event == lockmgr.Guarded.String()
}

// addRefusal counts it with those of its kind by the same process.
func addRefusal(all []Refusals, ev events.Event) []Refusals {
	r := Refusals{By: ev.By, What: ev.Act, Denied: true, Last: ev.Time}
	if ev.Event == lockmgr.Guarded.String() {
		r.What, r.File, r.Denied = ev.Write, true, ev.Denied
	}
	if r.By == nil && ev.Owner != nil { // a refusal of the owner's own (rule 6)
		r.By = ev.Owner
	}
	at := slices.IndexFunc(all, r.sameKind)
	if at < 0 {
		all, at = append(all, r), len(all)
	}
	all[at].Count++
	all[at].Last = ev.Time
	return all
}

func (r Refusals) sameKind(o Refusals) bool {
	same := r.By == nil && o.By == nil || r.By != nil && o.By != nil && r.By.PID == o.By.PID
	return same && r.What == o.What && r.File == o.File && r.Denied == o.Denied
}
