// Package rules holds tests about the source itself.
package rules

import (
	"os/exec"
	"strings"
	"testing"
)

// mayImport says which packages of the project a directory's packages may import, besides
// those below the same directory. A directory that is not here may import everything.
var mayImport = map[string][]string{
	"lockmgr": nil,
	"reclaim": {"lockmgr"},
	"fsnode":  {"lockmgr"},
}

const module = "sessionlockfs"

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	checked := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		dir, ruled := place(fields[0])
		if !ruled {
			continue
		}
		checked[dir] = true
		for _, imported := range fields[1:] {
			if !allowed(dir, imported) {
				t.Errorf("%s may not import %s", fields[0], imported)
			}
		}
	}
	for dir := range mayImport {
		if !checked[dir] {
			t.Errorf("%s has no package: the rule checks nothing", dir)
		}
	}
}

// place is the ruled top-level directory that a package is in.
func place(pkg string) (dir string, ruled bool) {
	dir, _, _ = strings.Cut(strings.TrimPrefix(pkg, module+"/"), "/")
	_, ruled = mayImport[dir]
	return dir, ruled
}

func allowed(dir, imported string) bool {
	if inside, ok := strings.CutPrefix(imported, module+"/"); ok {
		for _, may := range append(mayImport[dir], dir) {
			if inside == may || strings.HasPrefix(inside, may+"/") {
				return true
			}
		}
		return false
	}
	first, _, _ := strings.Cut(imported, "/")
	standard := !strings.Contains(first, ".")
	return standard || dir != "lockmgr" // the law is pure: the standard library only
}
