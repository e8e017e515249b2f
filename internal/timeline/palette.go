package timeline

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"
)

// hues are Okabe and Ito's, which people with any kind of colour vision tell apart (https://jfly.uni-koeln.de/color/), without
// black; each with a darker one of itself, and with what can be read on it.
var hues = [...]struct{ plain, dark, ink string }{
	{"#56b4e9", "#2b84b8", "#000"}, // sky blue
	{"#e69f00", "#a87400", "#000"}, // orange
	{"#009e73", "#006b4e", "#fff"}, // bluish green
	{"#f0e442", "#b8ad18", "#000"}, // yellow
	{"#cc79a7", "#984b76", "#000"}, // reddish purple
	{"#d55e00", "#943f00", "#fff"}, // vermilion
	{"#0072b2", "#004a75", "#fff"}, // blue
}

// colours is how many looks there are: each hue plain, and with a darker foot.
const colours = 2 * len(hues)

// palette says which look a process has, by its number.
type palette struct {
	number map[identity]int // by who held longest
	look   map[identity]int
	people []Holder // by number, under their last names
}

// colour gives each process the look that its hash says: the same in every picture. Only where another one in this picture, which
// holds longer, has that look already, it gets a free one, as long as there are any.
func colour(h *History) *palette {
	p := &palette{number: map[identity]int{}, look: map[identity]int{}, people: holdersOf(h)}
	taken := map[int]bool{}
	for i, who := range p.people {
		look := lookOf(who.identity())
		for range colours {
			if !taken[look] {
				break
			}
			look = (look + 1) % colours
		}
		p.number[who.identity()], p.look[who.identity()] = i, look
		taken[look] = true
	}
	return p
}

func lookOf(id identity) int {
	h := fnv.New32a()
	_ = binary.Write(h, binary.LittleEndian, id.pid)
	_, _ = h.Write([]byte(id.container))
	return int(h.Sum32() % uint32(colours))
}

// holdersOf are those in a picture, by how long they hold.
func holdersOf(h *History) (all []Holder) {
	held, last := map[identity]time.Duration{}, map[identity]Holder{}
	for _, l := range h.Lanes {
		for _, s := range l.Spans {
			if id := s.Holder.identity(); s.Holder.known() {
				last[id] = s.Holder
				if s.Kind == Hold {
					held[id] += within(s, h.From, h.To)
				}
			}
		}
	}
	for _, who := range last {
		all = append(all, who)
	}
	slices.SortFunc(all, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(held[b.identity()], held[a.identity()]), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Container, b.Container))
	})
	return all
}
