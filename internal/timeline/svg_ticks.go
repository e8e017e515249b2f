package timeline

import (
	"fmt"
)

// ticks draws the axis above the lanes, and below if there are many.
func (p *page) ticks(top, bottom float64) {
	p.f(`<g class="axis">` + "\n")
	for _, t := range p.axis.ticks() {
		x := p.axis.at(t.at)
		p.f(`<path class="grid" d="M%s,%sV%s"/>`, n(x), n(headHeight+ticksHeight-6), n(bottom))
		p.tickLabel(t, x, headHeight+12)
		if len(p.h.Lanes) > manyLanes {
			p.tickLabel(t, x, bottom+14)
		}
	}
	p.f(`<path class="edge" d="M%s,%sV%sM%s,%sV%s"/></g>`+"\n",
		n(p.axis.left), n(top), n(bottom), n(p.axis.right), n(top), n(bottom))
}

// tickLabel keeps a label at the edge inside of the picture.
func (p *page) tickLabel(t tick, x, y float64) {
	anchor := "middle"
	switch {
	case x < p.axis.left+30:
		anchor, x = "start", x+4
	case x > p.axis.right-30:
		anchor, x = "end", x-4
	}
	p.text("soft tick", x, y, anchor, t.label)
	if t.day != "" {
		p.text("soft tick", x, y+12, anchor, t.day)
	}
}

// server draws what happened to the mount, across all lanes. What is said of it is left out where something else stands.
func (p *page) server(top, bottom float64) {
	p.f(`<g class="server">` + "\n")
	free := 0.0
	for _, f := range p.axis.flags(p.h.Server, p.least) {
		word := serverWord(f)
		half := float64(cells(word)) * sansWidth * 11 / 2
		x := max(p.axis.left+half, min(p.axis.right-half, f.x))
		p.f(`<g>`)
		p.title(p.h.flagWords(f))
		p.f(`<path class="%s" d="M%s,%sV%s"/><path class="hit" d="M%s,%sV%s"/>`, serverLine[f.marks[0].Kind],
			n(f.x), n(top-3), n(bottom), n(f.x), n(top-serverHeight), n(bottom))
		if x-half >= free {
			p.text("ink tick clear", x, top-7, "middle", word)
			free = x + half + 6
		}
		p.f("</g>\n")
	}
	p.f("</g>\n")
}

// serverLine is how each is drawn.
var serverLine = map[MarkKind]string{Started: "start", TookOver: "over", Lost: "lost"}

func serverWord(f flag) (word string) {
	switch f.marks[0].Kind {
	case Started:
		word = "mount started"
	case TookOver:
		word = "takeover"
	case Lost:
		word = "events lost"
	}
	if len(f.marks) > 1 {
		word += fmt.Sprintf(" ×%d", len(f.marks))
	}
	return word
}
