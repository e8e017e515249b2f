package timeline

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// clean is a name in which nothing is invisible or does anything to a terminal, or to the direction of writing.
func clean(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(name[i:], "\uFFFD"):
			b.WriteString(`\x` + strconv.FormatUint(uint64(name[i])|0x100, 16)[1:])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// escape is a text as it is written in XML and in HTML; lines stay lines.
func escape(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = html.EscapeString(clean(line))
	}
	return strings.Join(lines, "\n")
}

// cells is how many columns a text takes in a font where all are as wide, or twice.
func cells(text string) (n int) {
	for _, r := range text {
		n++
		if r >= 0x1100 && (r < 0x2000 || r >= 0x2e80) { // East Asian scripts and emoji are there, and few others
			n++
		}
	}
	return n
}

// shorten leaves so many columns of a text: the end of a path says more than its beginning.
func shorten(text string, most int) string {
	if cells(text) <= most {
		return text
	}
	head := keep([]rune(text), most/3, false)
	return head + "…" + keep([]rune(text), most-1-cells(head), true)
}

// keep is the longest part at the beginning or the end that is not wider than so many columns.
func keep(text []rune, most int, end bool) string {
	for i := range text {
		part := text[:len(text)-i]
		if end {
			part = text[i:]
		}
		if cells(string(part)) <= most {
			return string(part)
		}
	}
	return ""
}
