package serve

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/diode"
)

// logLines is how many lines may wait for whoever reads the log.
const logLines = 8192

// logger makes a log on stderr: for people on a terminal, else JSON lines. A decision about
// a lock is logged while others wait for it, so a log that nobody reads must not hold it
// up: lines wait in a buffer, and are dropped and counted when that is full. flush writes
// out what waits.
func logger(level string) (log zerolog.Logger, flush func(), err error) {
	lv, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), nil, err
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	var out io.Writer = os.Stderr
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		out = zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly}
	}
	missed := func(n int) {
		fmt.Fprintf(os.Stderr, `{"level":"warn","missed":%d,"message":"log lines dropped"}`+"\n", n)
	}
	lines := diode.NewWriter(struct{ io.Writer }{out}, logLines, 0, missed) // not to close stderr
	return zerolog.New(lines).Level(lv).With().Timestamp().Logger(), func() { lines.Close() }, nil
}
