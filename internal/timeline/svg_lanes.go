package timeline

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// lane draws one lock: its name, its bars, and the marks on them.
func (p *page) lane(l *Lane, y float64, number int) {
	p.f(`<g class="lane">`)
	p.title(shorten(clean(l.Lock), 300))
	p.f(`<rect class="row%d" x="%d" y="%s" width="%d" height="%d"/>`+"\n", number%2, margin/2, n(y), width-margin, laneHeight)
	p.text("ink name", margin, y+16, "start", shorten(clean(l.Lock), p.cells))
	p.text("soft tick", margin, y+29, "start", l.caption(p.h.To.Sub(p.h.From)))
	middle := y + laneHeight/2
	flags := p.axis.flags(l.Marks, p.least)
	for _, b := range p.axis.bars(l.Spans, p.least) {
		p.bar(b, middle, flags)
	}
	for _, f := range flags {
		p.flag(f, middle)
	}
	p.f("</g>\n")
}

// flag draws a mark. It belongs to whoever did it, if that is one process and holds something as well.
func (p *page) flag(f flag, middle float64) {
	p.f(`<use href="#%s" x="%s" y="%s"`, glyphs[f.marks[0].Kind], n(f.x), n(middle))
	if number := p.numberOf(f.marks[0].By); len(f.marks) == 1 && number >= 0 {
		p.f(` data-h="%d"`, number)
	}
	p.f(">")
	p.title(p.h.flagWords(f))
	p.f("</use>\n")
}

// caption says in numbers what the lane shows.
func (l *Lane) caption(all time.Duration) string {
	words := []string{fmt.Sprintf("held %s", percent(l.Held, all))}
	if l.Contended > 0 {
		words = append(words, fmt.Sprintf("wanted %d×", l.Contended))
	}
	if l.Refused > 0 {
		words = append(words, fmt.Sprintf("refused %d×", l.Refused))
	}
	return strings.Join(words, " · ")
}

func percent(part, all time.Duration) string {
	switch of := 100 * float64(part) / float64(all); {
	case part > 0 && of < 1:
		return "<1%"
	case part < all && of > 99:
		return ">99%"
	default:
		return fmt.Sprintf("%.0f%%", of)
	}
}

// bar draws a bar around a line, and labels it where no mark is drawn.
func (p *page) bar(b bar, middle float64, flags []flag) {
	class, number := p.look(b)
	p.f(`<path class="%s"`, class)
	if number >= 0 {
		p.f(` data-h="%d"`, number)
	}
	outline := p.outline(b, middle)
	p.f(` d="%s">`, outline)
	p.title(p.h.barWords(b))
	p.f("</path>\n")
	switch {
	case b.x1-b.x0 < 4:
	case len(b.spans) > 1:
		p.f(`<path class="comb" d="%s"/>`+"\n", outline)
	case b.kind() == Hold:
		p.barLabel(b, middle, flags)
	}
}

// look is the class of a bar, and the number of its holder, -1 if it has none.
func (p *page) look(b bar) (class string, number int) {
	switch who, one := b.holder(); {
	case b.kind() == Orphan:
		class, number = "orphan", p.numberOf(who)
	case b.kind() == Abandoned:
		class, number = "abandoned", p.numberOf(who)
	case !one:
		return "many", -1
	case !who.known():
		class, number = "nobody", -1
	default:
		class, number = fmt.Sprintf("c%d", p.colours.look[who.identity()]), p.numberOf(who)
	}
	if b.spans[len(b.spans)-1].End == Unseen {
		class += " unseen"
	}
	if b.x1-b.x0 < 4 {
		class += " thin"
	}
	return class, number
}

func (p *page) numberOf(who Holder) int {
	if number, ok := p.colours.number[who.identity()]; ok {
		return number
	}
	return -1
}

// thinnest is what can just be seen.
const thinnest = 1.5

// outline has a tip where the span began before, or goes on after, what is known.
func (p *page) outline(b bar, middle float64) string {
	first, last := b.spans[0], b.spans[len(b.spans)-1]
	x0, x1 := b.x0, math.Max(b.x1, b.x0+thinnest)
	if x1 > p.axis.right {
		x0, x1 = p.axis.right-thinnest, p.axis.right
	}
	top, bottom := middle-barHeight/2, middle+barHeight/2
	path := fmt.Sprintf("M%s,%sH%s", n(x0), n(top), n(x1))
	if last.End == Open || last.To.After(p.h.To) {
		path += fmt.Sprintf("L%s,%sL%s,%s", n(x1+beyond), n(middle), n(x1), n(bottom))
	} else {
		path += "V" + n(bottom)
	}
	path += "H" + n(x0)
	if first.Before || first.From.Before(p.h.From) {
		path += fmt.Sprintf("L%s,%s", n(x0-beyond), n(middle))
	}
	return path + "Z"
}

// barLabel names the holder, by its PID alone if there is no room for more.
func (p *page) barLabel(b bar, middle float64, flags []flag) {
	who := b.spans[0].Holder
	for _, label := range []string{who.label(), fmt.Sprint(who.PID)} {
		label = clean(label)
		if x, ok := b.room(float64(cells(label))*labelWidth, flags); ok {
			p.f(`<text class="%s" data-h="%d" x="%s" y="%s">%s</text>`+"\n", p.labelClass(who), p.numberOf(who), n(x), n(middle+3.8), escape(label))
			return
		}
	}
}

// Pixels around a label, and half of the width of a mark.
const (
	labelApart = 4
	halfMark   = 7
)

// room is where in a bar something of some width can be written, left of all marks that are drawn on the bar, or right of one.
func (b bar) room(wide float64, flags []flag) (x float64, ok bool) {
	x = b.x0 + labelApart
	for _, f := range flags {
		if f.marks[0].Kind != Wanted && f.marks[0].Kind != Refused && f.x+halfMark > x && f.x-halfMark < x+wide {
			x = f.x + halfMark + labelApart/2
		}
	}
	return x, x+wide+labelApart <= b.x1
}

func (p *page) labelClass(who Holder) string {
	if !who.known() {
		return "label plain"
	}
	return fmt.Sprintf("label on%d", p.colours.look[who.identity()]%len(hues))
}
