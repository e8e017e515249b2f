package integration

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// databaseModes are the ways in which SQLite uses files: the log's shared memory and byte-range locks, a journal that
// comes and goes, and pages that are mapped.
var databaseModes = []struct{ name, pragmas string }{
	{"WAL", "PRAGMA journal_mode=WAL;"},
	{"WAL, mapped", "PRAGMA journal_mode=WAL; PRAGMA mmap_size=268435456;"},
	{"DELETE", "PRAGMA journal_mode=DELETE;"},
	{"DELETE, mapped", "PRAGMA journal_mode=DELETE; PRAGMA mmap_size=268435456;"},
}

const (
	rowsTogether = 5   // of one transaction
	transactions = 150 // of each writer that is let live
	killedOnes   = 5   // writers that are killed one after the other meanwhile
	databaseTime = 2 * time.Minute
)

// What a writer was told is written is there, of every transaction all or nothing, and the database is whole, while two
// write and others are killed in the middle.
func TestScenario26_Databases(t *testing.T) {
	m := newMount(t)
	for i, mode := range databaseModes {
		t.Run(mode.name, func(t *testing.T) {
			scenario{26, "SQLite, " + mode.name + ", two writers, five killed"}.once(t, func(r *run) {
				db := database{sqlite: need(r, "sqlite3"), file: m.path(fmt.Sprintf("state%d.db", i)), pragmas: mode.pragmas}
				db.query(r, "CREATE TABLE log(writer, transact, n);")
				writers := []*writer{db.write(r, "a", transactions), db.write(r, "b", transactions)}
				for k := range killedOnes {
					w := db.write(r, fmt.Sprint("killed", k), 1<<10)
					w.wait(r, 1+2*k)
					w.kill()
					writers = append(writers, w)
				}
				for _, w := range writers[:2] {
					w.wait(r, transactions)
				}
				for _, w := range writers {
					w.end(r)
					db.mustHave(r, w)
				}
				if out := db.query(r, "PRAGMA integrity_check;"); out != "ok" {
					r.Errorf("integrity_check: %s", out)
				}
				torn := fmt.Sprintf("SELECT writer, transact FROM log GROUP BY 1, 2 HAVING count(*) != %d;", rowsTogether)
				if out := db.query(r, torn); out != "" {
					r.Errorf("half done: %s", out)
				}
			})
		})
	}
}

// database is an SQLite database file.
type database struct{ sqlite, file, pragmas string }

// query answers a process of its own.
func (db database) query(t testing.TB, sql string) string {
	t.Helper()
	out, err := within(t, databaseTime, db.command(sql))
	if err != nil {
		t.Fatalf("%s: %v\n%s", sql, err, out)
	}
	return strings.TrimSpace(out)
}

func (db database) command(sql string) *exec.Cmd {
	// The pragmas answer with their values, which nobody wants to know.
	script := ".timeout 60000\n.output /dev/null\n" + db.pragmas + "\n.output\n" + sql
	// stdbuf becomes sqlite3, whose answers are to be heard one by one.
	cmd := exec.Command("stdbuf", "-oL", db.sqlite, "-bail", db.file)
	cmd.Stdin = strings.NewReader(script)
	return cmd
}

// writer is a process that does one transaction after the other and says which it has done.
type writer struct {
	name  string
	cmd   *exec.Cmd
	lines chan string
	log   *logBuffer
	done  int // how many it said it has done
}

func (db database) write(t testing.TB, name string, count int) *writer {
	t.Helper()
	var sql strings.Builder
	for i := range count {
		sql.WriteString("BEGIN IMMEDIATE;\n")
		for n := range rowsTogether {
			fmt.Fprintf(&sql, "INSERT INTO log VALUES('%s', %d, %d);\n", name, i, n)
		}
		fmt.Fprintf(&sql, "COMMIT;\nSELECT %d;\n", i)
	}
	w := &writer{name: name, cmd: db.command(sql.String()), lines: make(chan string, count), log: &logBuffer{}}
	w.cmd.Stderr = w.log
	out, err := w.cmd.StdoutPipe()
	mustDo(t, err)
	mustDo(t, w.cmd.Start())
	go func() {
		defer close(w.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			w.lines <- scan.Text()
		}
	}()
	t.Cleanup(w.kill)
	return w
}

// wait returns when the writer has done so many transactions.
func (w *writer) wait(t testing.TB, count int) {
	t.Helper()
	deadline := time.After(databaseTime)
	for w.done < count {
		select {
		case line, more := <-w.lines:
			if !more {
				t.Fatalf("writer %s ended after %d transactions: %s", w.name, w.done, w.log)
			}
			w.said(t, line)
		case <-deadline:
			t.Fatalf("writer %s is at transaction %d after %v", w.name, w.done, databaseTime)
		}
	}
}

func (w *writer) said(t testing.TB, line string) {
	t.Helper()
	if line != fmt.Sprint(w.done) {
		t.Fatalf("writer %s says %q after %d transactions", w.name, line, w.done)
	}
	w.done++
}

// kill may be called again.
func (w *writer) kill() {
	if w.cmd.ProcessState == nil {
		w.cmd.Process.Kill()
	}
}

// end hears what the writer still had to say.
func (w *writer) end(t testing.TB) {
	t.Helper()
	deadline := time.After(databaseTime)
	for more := true; more; {
		var line string
		select {
		case line, more = <-w.lines:
			if more {
				w.said(t, line)
			}
		case <-deadline:
			t.Fatalf("writer %s does not end", w.name)
		}
	}
	w.cmd.Wait()
}

// mustHave checks that what the writer knows to be done is there.
func (db database) mustHave(t testing.TB, w *writer) {
	t.Helper()
	var there int
	answer := db.query(t, fmt.Sprintf("SELECT count(DISTINCT transact) FROM log WHERE writer = '%s' AND transact < %d;", w.name, w.done))
	fmt.Sscan(answer, &there)
	if there != w.done {
		t.Errorf("%s has done %d transactions, of which %s are there", w.name, w.done, answer)
	}
}
