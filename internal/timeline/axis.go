package timeline

import (
	"strconv"
	"time"
)

// axis says where a moment is, in pixels.
type axis struct {
	from, to    time.Time
	left, right float64
}

// at is where a moment is, or the edge that it is beyond.
func (a axis) at(t time.Time) float64 {
	part := float64(t.Sub(a.from)) / float64(a.to.Sub(a.from))
	return a.left + max(0, min(1, part))*(a.right-a.left)
}

// steps are the distances of ticks that people can read.
var steps = []time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 2 * day, 7 * day, 14 * day, 28 * day,
}

const day = 24 * time.Hour

// tickApart is the least distance of two ticks: a label is some 80 pixels.
const tickApart = 96

// step is the smallest one whose labels don't touch.
func (a axis) step() time.Duration {
	most := time.Duration((a.right - a.left) / tickApart)
	for _, step := range steps {
		if a.to.Sub(a.from) <= step*most {
			return step
		}
	}
	return max(steps[len(steps)-1], (a.to.Sub(a.from)/most/day+1)*day)
}

// tick is a moment with a label, and the date below it if that is another one than before.
type tick struct {
	at         time.Time
	label, day string
}

// ticks are at round times of the clock on the wall, also where that is put forward or back.
func (a axis) ticks() (all []tick) {
	step, day := a.step(), ""
	for t := a.from.Add(-1); ; {
		if t = after(t, step); t.After(a.to) {
			return all
		}
		next := tick{at: t, label: label(t, step)}
		if date := t.Format("Mon 2 Jan"); date != day {
			next.day, day = date, date
		}
		all = append(all, next)
	}
}

// after is the first moment after t at which a clock on the wall shows a whole number of steps. Such a clock is put forward and
// back by an hour nearly everywhere: a longer step may end at a time that it never shows.
func after(t time.Time, step time.Duration) time.Time {
	wall := onWall(t)
	next := wall - wall%step + step
	if step <= time.Hour {
		return t.Add(next - wall)
	}
	for ; ; next += step {
		u := t.Add(next - wall)
		u = u.Add(next - onWall(u))
		if onWall(u) == next && u.After(t) {
			return u
		}
	}
}

// onWall is what a clock on the wall shows.
func onWall(t time.Time) time.Duration {
	_, offset := t.Zone()
	return time.Duration(t.UnixNano()) + time.Duration(offset)*time.Second
}

func label(t time.Time, step time.Duration) string {
	switch {
	case step < time.Second:
		return t.Format("15:04:05.000")
	case step < time.Minute:
		return t.Format("15:04:05")
	case step < day:
		return t.Format("15:04")
	}
	return strconv.Itoa(t.Day()) + t.Format(" Jan")
}
