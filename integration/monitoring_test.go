package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// What watches a mount is kept beside it: the rules of alerts, the dashboard, and what the README says of the metrics.
const (
	alertsFile    = "../scripts/prometheus/alerts.yml"
	alertTests    = "../scripts/prometheus/alerts_test.yml"
	dashboardFile = "../scripts/grafana/dashboard.json"
)

func TestAlerts(t *testing.T) {
	promtool := need(t, "promtool")
	mustRun(t, promtool, "check", "rules", alertsFile)
	mustRun(t, promtool, "test", "rules", alertTests)
}

// Each alert is proved to fire, and not to fire.
func TestEveryAlertIsTested(t *testing.T) {
	rules, tests := readText(t, alertsFile), readText(t, alertTests)
	names := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(names) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, found := range names {
		silent := regexp.MustCompile(`alertname: ` + found[1] + `, exp_alerts: \[\]`)
		fires := regexp.MustCompile(`alertname: ` + found[1] + `\n\s+exp_alerts:\n\s+- exp_labels`)
		if !silent.MatchString(tests) || !fires.MatchString(tests) {
			t.Errorf("%s: tested to be silent: %v, to fire: %v", found[1], silent.MatchString(tests), fires.MatchString(tests))
		}
	}
	for _, about := range []string{"summary: ", "runbook: "} {
		if n := strings.Count(rules, about); n != len(names) {
			t.Errorf("%d alerts, %d times %q", len(names), n, about)
		}
	}
	if n := len(regexp.MustCompile("runbook: .*`sessionlockfs ").FindAllString(rules, -1)); n != len(names) {
		t.Errorf("%d alerts, %d commands to run", len(names), n)
	}
}

// Whatever is asked for is there, and what we tell is in the README.
func TestMonitoringAsksForWhatIsThere(t *testing.T) {
	text := busyMetrics(t)
	for _, file := range []string{alertsFile, dashboardFile, "../README.md"} {
		asked := metricNames.FindAllString(readText(t, file), -1)
		if len(asked) == 0 {
			t.Errorf("%s names no metrics", file)
		}
		for _, name := range asked {
			if !regexp.MustCompile(`(?m)^`+name+`[ {]`).Match(text) && !bytes.Contains(text, []byte("# TYPE "+name+" ")) {
				t.Errorf("%s: %s is not there", file, name)
			}
		}
	}
	described := metricNames.FindAllString(readText(t, "../README.md"), -1)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name := range families {
		if strings.HasPrefix(name, "sessionlockfs_") && !slices.Contains(described, name) {
			t.Errorf("the README does not say what %s is", name)
		}
	}
}

var metricNames = regexp.MustCompile(`\b(?:sessionlockfs|process|go)_[a-z_]+\b`)

// The dashboard's queries are PromQL, and its panels don't lie over each other.
func TestDashboard(t *testing.T) {
	var board struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	taken := map[[2]int]string{}
	rules := "groups:\n- name: dashboard\n  rules:\n"
	variables := strings.NewReplacer("$job", "sessionlockfs", "$instance", ".*", "$__rate_interval", "5m", "$__range", "6h")
	for _, p := range board.Panels {
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, is := taken[at]; is || at[0] >= 24 {
					t.Errorf("%q lies over %q, or beyond the edge", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		for _, target := range p.Targets {
			rules += fmt.Sprintf("  - record: a%d\n    expr: %q\n", len(rules), variables.Replace(target.Expr))
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	writeFile(t, file, rules)
	mustRun(t, need(t, "promtool"), "check", "rules", file)
}
