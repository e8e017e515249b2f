package cli

import (
	"fmt"
	"strings"
)

const (
	screen    = 80 // columns
	margin    = 11 // of what stands beside a label
	fileLines = 6  // of what the file says
	mostNames = 4  // of who asks
)

// page is text for one screen: labels on the left, and what they are about beside them.
type page struct{ strings.Builder }

// say fills the lines beside a label with a sentence, if there is one. The first has no margin.
func (p *page) say(label, sentence string) {
	if sentence == "" {
		return
	}
	indent := margin
	if p.Len() == 0 {
		indent = 0
	}
	room := screen - indent
	var line string
	for _, word := range strings.Fields(sentence) {
		if line != "" && width(line)+1+width(word) > room {
			p.put(indent, label, line)
			label, line = "", ""
		}
		line += only(line != "", " ") + word
	}
	p.put(indent, label, line)
}

// line is say for what is to be cut, and not broken.
func (p *page) line(label, text string) { p.put(margin, label, cut(text, screen-margin)) }

func (p *page) put(indent int, label, text string) {
	fmt.Fprintf(p, "%s\n", strings.TrimRight(fmt.Sprintf("%-*s%s", indent, label, text), " "))
}

func width(text string) int { return len([]rune(text)) }

func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// escaped is printable for a line of a file: it is shown as it is, but for what could do something to a terminal.
func escaped(line string) string {
	quoted := fmt.Sprintf("%q", line)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// command shows what of a command line fits into two lines.
func (p *page) command(words []string) {
	shown := make([]string, len(words))
	for i, word := range words {
		shown[i] = Printable(word)
	}
	line := []rune(strings.Join(shown, " "))
	if room := screen - margin; len(line) > room {
		p.line("", string(line[:room]))
		line = line[room:]
	}
	if len(line) > 0 {
		p.line("", string(line))
	}
}
