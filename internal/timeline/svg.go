package timeline

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MostLanes is how many lanes a picture has at most.
const MostLanes = 40

// maxSize is how large a picture may be, in bytes: a browser shows that at once.
const maxSize = 2_000_000

// SVG draws a history. What is too narrow to be seen is drawn together, and more than that if the picture gets too large.
func SVG(h *History, title string) []byte {
	for least := 1.5; ; least *= 2 {
		p := newPage(h, least)
		p.draw(title)
		if p.Len() <= maxSize || least > width {
			return p.Bytes()
		}
	}
}

// Measures of the picture, in pixels.
const (
	width  = 1400
	margin = 24
	beyond = 7 // how far the tip of what goes on reaches past the edge

	titleLine  = 38
	factsLine  = 61
	headHeight = 80

	ticksHeight  = 34
	serverHeight = 18 // for what happened to the mount
	laneHeight   = 36
	barHeight    = 14
)

// page is a picture as it is drawn, from top to bottom. What others have named is escaped on its way into it.
type page struct {
	bytes.Buffer
	h       *History
	axis    axis
	colours *palette
	least   float64 // what is narrower is drawn together
	cells   int     // for the names of lanes
	y       float64 // where the next part begins
}

func newPage(h *History, least float64) *page {
	p := &page{h: h, colours: colour(h), least: least, cells: gutter(h)}
	p.axis = axis{h.From, h.To, margin + float64(p.cells)*monoWidth + 22, width - margin - 2*beyond}
	return p
}

// Widths of characters: of the name of a lane, of the label of a bar, and of others' at most, in parts of the font's size.
const (
	monoWidth  = 12 * 0.61
	labelWidth = 10.5 * 0.61
	sansWidth  = 0.6
)

// gutter is the room for the names, in characters: not more than a quarter of the picture.
func gutter(h *History) int {
	longest := 22
	for _, l := range h.Lanes {
		longest = max(longest, cells(clean(l.Lock)))
	}
	return min(longest, 42)
}

func (p *page) draw(title string) {
	top := float64(headHeight + ticksHeight)
	if len(p.h.Server) > 0 {
		top += serverHeight
	}
	bottom := top + laneHeight*float64(max(1, len(p.h.Lanes)))
	p.y = bottom
	if len(p.h.Lanes) > manyLanes {
		p.y += ticksHeight
	}
	legend := p.layLegend()
	p.begin(title, p.y)
	p.head(title)
	p.ticks(top, bottom)
	for i := range p.h.Lanes {
		p.lane(&p.h.Lanes[i], top+laneHeight*float64(i), i)
	}
	if len(p.h.Lanes) == 0 {
		p.text("soft clear", (p.axis.left+p.axis.right)/2, top+22, "middle", "no lock was held in this time")
	}
	p.server(top, bottom)
	p.legend(legend)
	p.f("</svg>\n")
}

// manyLanes is from when on the ticks are below as well.
const manyLanes = 12

func (p *page) begin(title string, height float64) {
	p.f(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %s" width="%d" height="%s" role="img" id="timeline">`,
		width, n(height), width, n(height))
	p.title(title)
	p.f("\n<style>%s</style>\n<defs>%s</defs>\n", style(), definitions())
	p.f(`<rect class="back" width="%d" height="%s"/>`+"\n", width, n(height))
}

// head says what the picture is of.
func (p *page) head(title string) {
	p.text("ink head", margin, titleLine, "start", shorten(clean(title), 95))
	p.text("soft", margin, factsLine, "start", strings.Join(p.h.facts(), "  ·  "))
}

func (h *History) facts() []string {
	t := h.Totals
	facts := []string{h.period(), plural(t.Locks, "lock"), plural(t.Holds, "hold") + " by " + plural(t.Holders, "process")}
	if t.Contended > 0 {
		facts = append(facts, "wanted by others "+times(t.Contended))
	}
	if t.Deaths > 0 {
		facts = append(facts, plural(t.Deaths, "death"))
	}
	if h.LeftOut > 0 {
		facts = append(facts, fmt.Sprintf("here are the %d most contended, %d more are left out", len(h.Lanes), h.LeftOut))
	}
	if h.Cut {
		facts = append(facts, "nothing is kept of what was before")
	}
	return facts
}

func (h *History) period() string {
	zone, _ := h.To.Zone()
	end := "15:04:05"
	if h.From.YearDay() != h.To.YearDay() || h.From.Year() != h.To.Year() {
		end = "2 Jan 2006, " + end
	}
	return h.From.Format("2 Jan 2006, 15:04:05") + " to " + h.To.Format(end) + " " + zone
}

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// f writes what holds no text of anybody else's, unless escaped.
func (p *page) f(format string, args ...any) { fmt.Fprintf(p, format, args...) }

func (p *page) text(class string, x, y float64, anchor, text string) {
	p.f(`<text class="%s" x="%s" y="%s"`, class, n(x), n(y))
	if anchor != "start" {
		p.f(` text-anchor="%s"`, anchor)
	}
	p.f(">%s</text>\n", escape(text))
}

// title is what is shown when the element that it is in is pointed at.
func (p *page) title(text string) { p.f("<title>%s</title>", escape(text)) }

// n is a number as short as it can be seen.
func n(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }
