package timeline

import (
	"fmt"
	"math"
)

// Measures of the legend, in pixels.
const (
	legendLine = 30
	sample     = 30 // the width of what is explained
	mostPeople = 14
)

// entry is one thing that is explained.
type entry struct {
	draw func(p *page, x, middle float64)
	text string
	x, y float64
}

// layLegend finds the place of all that needs to be explained, below what is there, and moves the end of the picture down.
func (p *page) layLegend() (all []entry) {
	p.y += 14
	all = p.flow(all, p.signs(), 4)
	all = p.flow(all, p.people(), 8)
	p.y += margin / 2
	return all
}

// flow puts entries in lines of so many columns. Each takes as many as it needs.
func (p *page) flow(all, more []entry, columns float64) []entry {
	if len(more) == 0 {
		return all
	}
	x, column := float64(margin), (width-2*margin)/columns
	for _, e := range more {
		w := column * math.Ceil((sample+12+float64(cells(e.text))*sansWidth*11.5)/column)
		if x+w > width-margin+1 && x > margin {
			x = margin
			p.y += legendLine
		}
		e.x, e.y = x, p.y+legendLine/2
		x += w
		all = append(all, e)
	}
	p.y += legendLine
	return all
}

func (p *page) legend(all []entry) {
	p.f(`<g class="legend">` + "\n")
	for _, e := range all {
		p.f(`<g>`)
		e.draw(p, e.x, e.y)
		p.text("ink", e.x+sample+6, e.y+4, "start", e.text)
		p.f("</g>\n")
	}
	p.f("</g>\n")
}

// signs explains what is on this picture, and nothing else.
func (p *page) signs() (all []entry) {
	there := p.present()
	for _, s := range []struct {
		sign string
		draw func(p *page, x, middle float64)
		text string
	}{
		{"held", swatch("c0"), "held: the colour is the holder's"},
		{"before", tipped(-beyond, 0), "since before this time"},
		{"open", tipped(0, beyond), "goes on"},
		{"short", combed("c0"), "many short holds"},
		{"many", combed("many"), "the same, by several processes"},
		{"nobody", swatch("nobody"), "the kernel could not name the holder"},
		{"unseen", swatch("c0 unseen"), "its end was not seen"},
		{"orphan", swatch("orphan"), "orphan: the next one takes it"},
		{"abandoned", swatch("abandoned"), "abandoned: it could be data"},
		{glyphs[Death], glyph(Death), "its owner died"},
		{glyphs[Wanted], glyph(Wanted), "wanted by another"},
		{glyphs[Refused], glyph(Refused), "an act on it refused"},
		{glyphs[Guarded], glyph(Guarded), "another wrote to what it protects"},
		{glyphs[Denied], glyph(Denied), "such a write was denied"},
		{glyphs[Forced], glyph(Forced), "released by a person"},
		{glyphs[Expired], glyph(Expired), "held for too long, taken away"},
		{"start", line("start"), "the mount was started"},
		{"over", line("over"), "takeover by another server"},
		{"lost", line("lost"), "events are missing"},
	} {
		if there[s.sign] {
			all = append(all, entry{draw: s.draw, text: s.text})
		}
	}
	return all
}

// present says which signs are on the picture.
func (p *page) present() map[string]bool {
	there := map[string]bool{}
	for _, m := range p.h.Server {
		there[serverLine[m.Kind]] = true
	}
	for _, l := range p.h.Lanes {
		for _, b := range p.axis.bars(l.Spans, p.least) {
			p.signsOf(b, there)
		}
		for _, m := range l.Marks {
			there[glyphs[m.Kind]] = true
		}
	}
	return there
}

func (p *page) signsOf(b bar, there map[string]bool) {
	first, last := b.spans[0], b.spans[len(b.spans)-1]
	who, one := b.holder()
	switch kind := b.kind(); {
	case kind == Orphan:
		there["orphan"] = true
	case kind == Abandoned:
		there["abandoned"] = true
	case !one:
		there["many"], there["short"] = true, true
	case !who.known():
		there["nobody"] = true
	default:
		there["held"] = true
		there["short"] = there["short"] || len(b.spans) > 1 && b.x1-b.x0 >= 4
	}
	there["before"] = there["before"] || first.Before || first.From.Before(p.h.From)
	there["open"] = there["open"] || last.End == Open || last.To.After(p.h.To)
	there["unseen"] = there["unseen"] || last.End == Unseen
}

// people names those who held longest, by their colours.
func (p *page) people() (all []entry) {
	people := p.colours.people
	for _, who := range people[:min(mostPeople, len(people))] {
		class := fmt.Sprintf("c%d", p.colours.look[who.identity()])
		all = append(all, entry{draw: p.swatchOf(who, class), text: shorten(clean(who.String()), 40)})
	}
	switch more := len(people) - mostPeople; {
	case more > 0 && len(people) > colours:
		all = append(all, entry{draw: nothing, text: fmt.Sprintf("and %s more; some share a colour", plural(more, "process"))})
	case more > 0:
		all = append(all, entry{draw: nothing, text: fmt.Sprintf("and %s more", plural(more, "process"))})
	}
	return all
}

func nothing(*page, float64, float64) {}

func (p *page) swatchOf(who Holder, class string) func(*page, float64, float64) {
	return func(p *page, x, middle float64) {
		p.f(`<rect class="%s" data-h="%d" x="%s" y="%s" width="%d" height="%d"/>`,
			class, p.numberOf(who), n(x), n(middle-barHeight/2), sample, barHeight)
	}
}

func swatch(class string) func(*page, float64, float64) {
	return func(p *page, x, middle float64) {
		p.f(`<rect class="%s" x="%s" y="%s" width="%d" height="%d"/>`, class, n(x), n(middle-barHeight/2), sample, barHeight)
	}
}

func combed(class string) func(*page, float64, float64) {
	return func(p *page, x, middle float64) {
		swatch(class)(p, x, middle)
		swatch("comb")(p, x, middle)
	}
}

// tipped is a bar with a tip to the left or to the right.
func tipped(left, right float64) func(*page, float64, float64) {
	return func(p *page, x, middle float64) {
		x0, x1, top, bottom := x-left, x+sample-right, middle-barHeight/2, middle+barHeight/2
		p.f(`<path class="c0" d="M%s,%sH%sL%s,%sL%s,%sH%sL%s,%sZ"/>`,
			n(x0), n(top), n(x1), n(x1+right), n(middle), n(x1), n(bottom), n(x0), n(x0+left), n(middle))
	}
}

func glyph(kind MarkKind) func(*page, float64, float64) {
	return func(p *page, x, middle float64) {
		if kind != Guarded && kind != Denied {
			p.f(`<rect class="faint" x="%s" y="%s" width="%d" height="%d"/>`, n(x), n(middle-barHeight/2), sample, barHeight)
		}
		p.f(`<use href="#%s" x="%s" y="%s"/>`, glyphs[kind], n(x+sample/2), n(middle))
	}
}

func line(class string) func(*page, float64, float64) {
	return func(p *page, x, middle float64) {
		p.f(`<path class="%s" d="M%s,%sV%s"/>`, class, n(x+sample/2), n(middle-8), n(middle+8))
	}
}
