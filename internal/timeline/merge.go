package timeline

// bar is one span, or a run of spans each of which is too narrow to be seen.
type bar struct {
	x0, x1 float64
	spans  []Span
}

// bars are those of a lane. What is narrower than least is drawn together with its neighbours that are, if they are not further
// apart than that.
func (a axis) bars(spans []Span, least float64) (all []bar) {
	for i, s := range spans {
		next := bar{a.at(s.From), a.at(s.To), spans[i : i+1]}
		if n := len(all) - 1; n >= 0 && all[n].takes(next, least) {
			all[n] = bar{all[n].x0, max(all[n].x1, next.x1), spans[i-len(all[n].spans) : i+1]}
			continue
		}
		all = append(all, next)
	}
	return all
}

// mostTogether is how wide what is drawn together gets, in units of the least width of a bar: what is said of it ought to be of
// what is pointed at.
const mostTogether = 16

// takes reports whether the next bar is drawn with this one.
func (b bar) takes(next bar, least float64) bool {
	narrow := len(b.spans) > 1 || b.x1-b.x0 < least
	return narrow && next.x1-next.x0 < least && next.x0-b.x1 < least && next.x1-b.x0 < mostTogether*least
}

// holder is the one that all spans have in common.
func (b bar) holder() (common Holder, ok bool) {
	common = b.spans[0].Holder
	for _, s := range b.spans[1:] {
		if s.Holder.identity() != common.identity() {
			return Holder{}, false
		}
	}
	return common, true
}

// kind is Hold, unless there is no hold among them.
func (b bar) kind() Kind {
	for _, s := range b.spans {
		if s.Kind == Hold {
			return Hold
		}
	}
	return b.spans[0].Kind
}

// flag is one mark, or several of a kind in one place.
type flag struct {
	x     float64
	marks []Mark
}

// markApart is how far two marks of a kind must be apart to be told from each other, in units of the least width of a bar.
const markApart = 3

// flags are those of a lane or of the server, in the order in which they are drawn.
func (a axis) flags(marks []Mark, least float64) (all []flag) {
	var byKind [markKinds][]Mark
	for _, m := range marks {
		byKind[m.Kind] = append(byKind[m.Kind], m)
	}
	for _, marks := range byKind {
		var last *flag
		for i, m := range marks {
			x := a.at(m.At)
			if last != nil && x-last.x < markApart*least {
				last.marks = marks[i-len(last.marks) : i+1]
				continue
			}
			all = append(all, flag{x, marks[i : i+1]})
			last = &all[len(all)-1]
		}
	}
	return all
}
