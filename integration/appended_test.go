package integration

import (
	"regexp"
	"strings"
	"testing"
)

// pageSize is that of the machines that the suite runs on, in bytes.
const pageSize = 4096

// wholeLines gives the lines that were appended to a file. A writer that is killed in the middle of an append may leave its first part, on
// a bare directory as well: the kernel looks for a fatal signal whenever it is done with a page (generic_perform_write). So a
// part of a line that ends where a page does, with a line of another writer after it, is let go. Nothing else is.
func wholeLines(text string, line *regexp.Regexp) (lines []string) {
	at := 0
	for whole := range strings.Lines(text) {
		end := at + len(whole)
		boundary := end / pageSize * pageSize
		if rest := text[max(boundary, at):end]; boundary > at && !line.MatchString(whole) && line.MatchString(rest) {
			whole = rest
		}
		lines = append(lines, strings.TrimSuffix(whole, "\n"))
		at = end
	}
	return lines
}

func TestWholeLines(t *testing.T) {
	line := regexp.MustCompile(`^(begin|end) \w+\n$`)
	filler := strings.Repeat("begin a\n", pageSize/8)
	for _, c := range []struct {
		name, text string
		last       string // of the lines
	}{
		{"whole", filler + "end b\n", "end b"},
		{"cut before a page's end", filler[:pageSize-4] + "end b\n", "begiend b"},
		{"cut at a page's end", filler[:pageSize-8] + "begin ab" + "end c\n", "end c"},
		{"cut elsewhere", filler[:pageSize-8] + "begin a" + "end c\n", "begin aend c"},
		{"cut, and nothing whole after it", filler[:pageSize-8] + "begin ab" + "nd c\n", "begin abnd c"},
	} {
		lines := wholeLines(c.text, line)
		if last := lines[len(lines)-1]; last != c.last {
			t.Errorf("%s: the last line is %q, want %q", c.name, last, c.last)
		}
	}
}
