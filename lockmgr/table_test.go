package lockmgr

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTableIsTheLaw holds the table's rows against the words of rules 1 to 3 and 10.
func TestTableIsTheLaw(t *testing.T) {
	each(table, func(a Act, s State, r Relation, o Outcome) {
		where := fmt.Sprintf("%s of a lock that is %s by %s: %s", a, s, r, o)
		stranger := s == Held && r != Owner && r != Second || s == UnknownOwner && r != Unnamed
		owned := (s == Held || s == Overdue) && r == Owner
		done := s == Orphan || s == Abandoned || s == Untracked
		switch {
		case a == Create && s != Free && s != Orphan && o != Exists:
			t.Errorf("%s: rule 1", where)
		case a != Create && (o == Grant || o == TakeOver || o == Exists):
			t.Errorf("%s: only a create is granted", where)
		case a != Create && stranger && !o.Refused():
			t.Errorf("%s: rule 3", where)
		case a != Create && owned && o.Refused():
			t.Errorf("%s: rule 2", where)
		case a != Create && a != Put && done && r != Late && o.Refused():
			t.Errorf("%s: anyone may", where)
		case a == Put && s == Orphan && o != Gone:
			t.Errorf("%s: it must not be brought back", where)
		case o == Expire && s != Overdue:
			t.Errorf("%s: nobody loses it before its time", where)
		}
	})
	each(gitTable, func(a Act, s State, r Relation, o Outcome) {
		if a == Create && o != table[a][s][r] || a != Create && o.Refused() {
			t.Errorf("git: %s of a lock that is %s by %s: %s: rule 9", a, s, r, o)
		}
	})
}

func each(t rows, do func(Act, State, Relation, Outcome)) {
	for a := range acts {
		for s := range states {
			for r := range relations {
				do(a, s, r, t[a][s][r])
			}
		}
	}
}

var update = flag.Bool("update", false, "write the table into README.md")

// What README.md says of an outcome, an act and who is asking.
var (
	outcomeWords = map[Outcome]string{
		Pass: "done", Grant: "**granted**", TakeOver: "orphan goes, **granted**", Release: "released",
		Exists: "`EEXIST`", Busy: "`EBUSY`", Remember: "`EBUSY`, goes at close", Gone: "`ENOENT`",
		Clear: "done, forgotten", Expire: "done, owner fenced",
	}
	actWords = map[Act]string{
		Create:  "exclusive create: `O_EXCL`, `mkdir`, `symlink`, `mknod`, `link` or `rename(NOREPLACE)` onto it",
		Remove:  "`unlink`, `rmdir`, `rename` away",
		Replace: "`rename` over it, or `EXCHANGE`",
		Change:  "open for writing, truncate, mode, owner, times, xattrs, `link` elsewhere",
		Put:     "inside a lock directory: make or write something",
		Take:    "inside a lock directory: remove something",
	}
	relationWords = [relations]string{"anybody else", "its owner", "its owner, creating handle open", "who judged an earlier lock", "a caller without a name"}
)

const tableStart, tableEnd = "<!-- the law's table: go test ./lockmgr -run README -update -->\n", "<!-- end -->\n"

// TestREADMEShowsTheTable fails if README.md says anything else than the table does.
func TestREADMEShowsTheTable(t *testing.T) {
	const file = "../README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(tableStart))
	shown, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the table")
	}
	want := markdown(table) + "\nInside a git directory, for git's own locks (`index.lock`, `HEAD.lock`, `refs/**.lock`, …):\n\n" + markdown(gitTable) + "\n"
	if string(shown) == "\n"+want {
		return
	}
	if !*update {
		t.Fatal("README.md does not show the law as it is: run go test ./lockmgr -run README -update")
	}
	all := string(before) + tableStart + "\n" + want + tableEnd + string(after)
	if err := os.WriteFile(file, []byte(all), 0o644); err != nil {
		t.Fatal(err)
	}
}

// markdown renders the rows. States of which the same comes are in one line.
func markdown(t rows) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| act | lock is | %s |\n|---|---|%s\n", strings.Join(relationWords[:], " | "), strings.Repeat("---|", int(relations)))
	for a := range acts {
		act := actWords[a]
		for s := range states {
			if first(t[a], s) != s {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s |%s\n", act, alike(t[a], s), cells(t[a][s]))
			act = ""
		}
	}
	return b.String()
}

// first is the first state of which the same comes.
func first(of [states]row, s State) State {
	for o := range s {
		if of[o] == of[s] {
			return o
		}
	}
	return s
}

func alike(of [states]row, s State) string {
	var names []string
	for o := s; o < states; o++ {
		if of[o] == of[s] {
			names = append(names, strings.ReplaceAll(o.String(), "_", " "))
		}
	}
	if len(names) == int(states) {
		return "any"
	}
	return strings.Join(names, ", ")
}

func cells(r row) string {
	var b strings.Builder
	for _, o := range r {
		fmt.Fprintf(&b, " %s |", outcomeWords[o])
	}
	return b.String()
}
