package timeline

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
)

// element is one of a picture.
type element struct {
	name  string
	attr  map[string]string
	text  string
	below []*element
}

// parse reads XML, strictly.
func parse(t *testing.T, picture []byte) *element {
	t.Helper()
	root := &element{}
	open := []*element{root}
	for in := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return root.below[0]
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		at := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attr: map[string]string{}}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			at.below = append(at.below, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			at.text += string(token)
		}
	}
}

// all are the elements in it for which ok is true.
func (e *element) all(ok func(*element) bool) (found []*element) {
	if ok(e) {
		found = append(found, e)
	}
	for _, b := range e.below {
		found = append(found, b.all(ok)...)
	}
	return found
}

// classed are those of a class.
func (e *element) classed(class string) []*element {
	return e.all(func(e *element) bool { return strings.Contains(" "+e.attr["class"]+" ", " "+class+" ") })
}

// used are the drawings of a mark.
func (e *element) used(kind MarkKind) []*element {
	return e.all(func(e *element) bool { return e.name == "use" && e.attr["href"] == "#"+glyphs[kind] })
}

// title is what is said of an element.
func (e *element) title() string {
	for _, b := range e.below {
		if b.name == "title" {
			return b.text
		}
	}
	return ""
}

func (e *element) group(class string) *element {
	if found := e.classed(class); len(found) == 1 {
		return found[0]
	}
	return &element{}
}

func TestPicture(t *testing.T) {
	h := built(0, []happened{
		{0, "started", "", 0, "", nil},
		{1, "granted", "main/x.lock", 7, "A", nil}, {2, "contended", "main/x.lock", 7, "A", by("B")},
		{30, "refused", "main/x.lock", 7, "A", refusedSoFar(1)}, {40, "orphaned", "main/x.lock", 7, "A", nil},
		{60, "took_over", "", 0, "", nil}, {60, "orphaned", "main/x.lock", 7, "A", nil},
		{70, "reclaimed", "main/x.lock", 7, "A", by("B")}, {70, "granted", "main/x.lock", 8, "B", nil},
		{80, "guarded", "main/x.lock", 8, "B", by("C")},
		{10, "granted", "y.lock", 9, "C", nil}, {90, "forced", "y.lock", 9, "C", nil},
	})
	svg := parse(t, SVG(h, "Locks of /srv"))
	lanes := svg.classed("lane")
	if len(lanes) != 2 || lanes[0].title() != "main/x.lock" || lanes[1].title() != "y.lock" {
		t.Fatalf("%d lanes", len(lanes))
	}
	x, y := lanes[0], lanes[1]
	bars := x.all(func(e *element) bool { return e.name == "path" && e.title() != "" })
	if len(bars) != 3 {
		t.Fatalf("%d bars, want A's, the orphan's and B's", len(bars))
	}
	if bars[1].attr["class"] != "orphan" || bars[1].attr["data-h"] != bars[0].attr["data-h"] || bars[0].attr["class"] == bars[2].attr["class"] {
		t.Errorf("bars are %v, %v, %v", bars[0].attr, bars[1].attr, bars[2].attr)
	}
	if !strings.Contains(bars[0].title(), "A 65, user 0\nfrom 10:00:01.000 for 39s, then it died") {
		t.Errorf("of the first bar is said %q", bars[0].title())
	}
	if strings.Contains(bars[0].attr["d"], "L") || !strings.Contains(bars[2].attr["d"], "L") {
		t.Errorf("only what goes on has a tip: %s, %s", bars[0].attr["d"], bars[2].attr["d"])
	}
	for kind, want := range map[MarkKind]int{Wanted: 1, Refused: 1, Death: 1, Guarded: 1, Forced: 0} {
		if got := len(x.used(kind)); got != want {
			t.Errorf("%s: %d marks, want %d", markKindWords[kind], got, want)
		}
	}
	if len(y.used(Forced)) != 1 || len(svg.group("server").classed("start")) != 1 || len(svg.group("server").classed("over")) != 1 {
		t.Errorf("no flag for what was forced, or no line for a server's start")
	}
	var labels []string
	for _, e := range append(x.classed("label"), y.classed("label")...) {
		labels = append(labels, e.text)
	}
	if got := strings.Join(labels, ", "); got != "A 65, B 66, C 67" {
		t.Errorf("labels are %s", got)
	}
	legend := text(svg.group("legend"))
	for _, want := range []string{"A 65", "B 66", "C 67", "orphan", "its owner died", "goes on", "wanted", "released by a person", "takeover"} {
		if !strings.Contains(legend, want) {
			t.Errorf("the legend doesn't say %q", want)
		}
	}
	if strings.Contains(legend, "abandoned") || strings.Contains(legend, "too long") {
		t.Errorf("the legend explains what isn't there: %s", legend)
	}
	if head := text(svg); !strings.Contains(head, "Locks of /srv") || !strings.Contains(head, "2 locks  ·  3 holds by 3 processes") {
		t.Errorf("the head says %.300s", head)
	}
}

// text is all that is written in an element.
func text(e *element) string {
	var words []string
	for _, e := range e.all(func(e *element) bool { return e.name == "text" }) {
		words = append(words, e.text)
	}
	return strings.Join(words, "\n")
}

// Nothing may be drawn outside of the picture, whatever is in it.
func TestEverythingIsInThePicture(t *testing.T) {
	svg := parse(t, SVG(built(50, []happened{
		{0, "granted", strings.Repeat("long/", 400) + "x.lock", 1, "A", nil}, {0, "granted", "次の会議の議事録をまとめるエージェントのための非常に長い名前.lock", 2, "B", nil},
		{50, "contended", "y.lock", 3, "C", by("A")}, {99.99, "granted", "z.lock", 4, "D", nil}, {100, "started", "", 0, "", nil},
	}), strings.Repeat("/srv", 200)))
	for _, e := range svg.all(func(e *element) bool { return e.name == "text" }) {
		var x float64
		fmt.Sscan(e.attr["x"], &x)
		wide := float64(cells(e.text)) * sansWidth * 11.5
		if strings.Contains(e.attr["class"], "head") {
			wide = float64(cells(e.text)) * sansWidth * 21 * 1.1 // it is bold
		}
		switch e.attr["text-anchor"] {
		case "middle":
			x -= wide / 2
		case "end":
			x -= wide
		}
		if x < 0 || x+wide > width {
			t.Errorf("%.60q goes from %.0f to %.0f", e.text, x, x+wide)
		}
	}
	number := regexp.MustCompile(`[MHL](-?[0-9.]+)`)
	for _, lane := range svg.classed("lane") {
		for _, e := range lane.all(func(e *element) bool { return e.name == "path" }) {
			for _, found := range number.FindAllStringSubmatch(e.attr["d"], -1) {
				var x float64
				if fmt.Sscan(found[1], &x); x < 100 || x > width-margin/2 {
					t.Errorf("a bar is at %s", e.attr["d"])
				}
			}
		}
	}
}
