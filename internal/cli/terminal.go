package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// terminal is where a program can move the cursor.
func terminal(out io.Writer) (screen *os.File, ok bool) {
	screen, ok = out.(*os.File)
	if !ok || os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb" {
		return nil, false
	}
	_, err := unix.IoctlGetTermios(int(screen.Fd()), unix.TCGETS)
	return screen, err == nil
}

// size of a terminal that does not know its own is what terminals once had.
func size(screen *os.File) (width, height int) {
	w, err := unix.IoctlGetWinsize(int(screen.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return 80, 24
	}
	return int(w.Col), int(w.Row)
}

const (
	home      = "\x1b[H"
	clearLine = "\x1b[K" // from the cursor on
	clearDown = "\x1b[J"
)

// redraw writes over what was there, so that nothing flickers.
func redraw(screen *os.File, root string, dump fsnode.Dump, q LocksQuery, failed error) error {
	now := time.Now()
	var table, frame bytes.Buffer
	fmt.Fprintf(&table, "%s  %s  locks: %d\n", now.Format(time.TimeOnly), Printable(root), len(dump.Locks))
	if failed != nil {
		fmt.Fprintf(&table, "%s\n", PrintableText(failed.Error()))
	}
	width, height := size(screen)
	if err := writeTable(&table, narrowed(dump.Locks, width), q, now); err != nil {
		return err
	}
	frame.WriteString(home)
	for _, line := range cropped(strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n"), height-1) {
		frame.WriteString(ansi.Truncate(line, width, "…") + clearLine + "\r\n")
	}
	frame.WriteString(clearDown)
	_, err := screen.Write(frame.Bytes())
	return err
}

// cropped are the first lines, as many as there is room for, and how many more there are.
func cropped(lines []string, room int) []string {
	if len(lines) <= room {
		return lines
	}
	room = max(room, 1)
	return append(lines[:room-1:room-1], fmt.Sprintf("… and %d more", len(lines)-room+1))
}

// narrowed has no path so long that all the rest of its line is off the screen; what a token says is the least.
func narrowed(locks []fsnode.LockDump, width int) []fsnode.LockDump {
	const rest, least = 52, 24
	narrow := slices.Clone(locks)
	for i, l := range narrow {
		narrow[i].Path = shortened(l.Path, max(width-rest, least))
	}
	return narrow
}

// shortened leaves out of the middle what has no room: the end of a path tells most, and the start more than the middle. The
// width is in cells of the screen.
func shortened(text string, width int) string {
	all := ansi.StringWidth(text)
	if all <= width {
		return text
	}
	if width < 3 {
		return ansi.Truncate(text, max(width, 0), "")
	}
	head := (width - 1) / 3
	tail := width - 1 - head
	end := ansi.TruncateLeft(text, all-tail, "")
	if ansi.StringWidth(end) > tail { // it had to cut a character of two cells in half, and didn't
		end = ansi.TruncateLeft(text, all-tail+1, "")
	}
	return ansi.Truncate(text, head, "") + "…" + end
}
