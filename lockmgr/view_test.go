package lockmgr

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

var viewNow = time.Date(2026, 3, 1, 12, 30, 45, 678_000_000, time.UTC)

func TestRender(t *testing.T) {
	for _, row := range []struct{ name, data, want string }{
		{"nothing", "", ""},
		{"integer", "123\n", "   \n"},
		{"padded integer", "  123 \n", "      \n"},
		{"negative integer", "-123", "    "},
		{"OpenClaw up to 2026.3.1",
			"{\n  \"pid\": 123,\n  \"createdAt\": \"2025-01-01T00:00:00.000Z\"\n}",
			"{\n  \"pid\":    ,\n  \"createdAt\": \"2026-03-01T12:30:45.678Z\"\n}"},
		{"OpenClaw from 2026.5 on",
			"{\n  \"pid\": 123,\n  \"createdAt\": \"2025-01-01T00:00:00.000Z\",\n  \"starttime\": 4567,\n  \"maxHoldMs\": 600000\n}\n",
			"{\n  \"pid\":    ,\n  \"createdAt\": \"2026-03-01T12:30:45.678Z\",\n  \"starttime\":     ,\n  \"maxHoldMs\": 600000\n}\n"},
		{"the early store", `{"pid":123,"startedAt":1700000000000}`, `{"pid":   ,"startedAt":1772368245678}`},
		{"seconds", `{"createdAt":1700000000}`, `{"createdAt":1772368245}`},
		{"microseconds", `{"createdAt":1700000000000000}`, `{"createdAt":1772368245678000}`},
		{"nanoseconds", `{"createdAt":1700000000000000000}`, `{"createdAt":1772368245678000000}`},
		{"seconds and a fraction", `{"acquiredAt":1700000000.25}`, `{"acquiredAt":1772368245.25}`},
		{"a number that is no time", `{"createdAt":17}`, `{"createdAt":17}`},
		{"time without a fraction", `{"createdAt":"2025-01-01T00:00:00Z"}`, `{"createdAt":"2026-03-01T12:30:45Z"}`},
		{"time with an offset stays", `{"createdAt":"2025-01-01T00:00:00+01:00"}`, `{"createdAt":"2025-01-01T00:00:00+01:00"}`},
		{"words as long as a time stay", `{"createdAt":"the first of this month."}`, `{"createdAt":"the first of this month."}`},
		{"pid as a string", `{"pid":"123"}`, `{"pid":"   "}`},
		{"negative pid", `{"pid":-123}`, `{"pid":    }`},
		{"blanks around the colon", "{\"pid\" \t:\n 123}", "{\"pid\" \t:\n    }"},
		{"deeper down", `{"owner":{"pid":123}}`, `{"owner":{"pid":   }}`},
		{"half written", `{"pid":123,"createdAt":"2025-`, `{"pid":   ,"createdAt":"2025-`},
		{"other numbers stay", `{"ppid":123,"pids":5,"id":7}`, `{"ppid":123,"pids":5,"id":7}`},
		{"a string that looks like it stays", `{"note":"\"pid\":123"}`, `{"note":"\"pid\":123"}`},
		{"data stays", "version: 1\n", "version: 1\n"},
		{"a token as trailing blanks", "{\"pid\":123} \t \t", "{\"pid\":   } \t \t"},
	} {
		t.Run(strings.ReplaceAll(row.name, " ", "_"), func(t *testing.T) {
			data := []byte(row.data)
			if got := string(Render(data, viewNow)); got != row.want {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
			if string(data) != row.data {
				t.Error("the data was changed")
			}
		})
	}
}

// How contenders judge: by a usable pid, by createdAt, by the
// file's age. A held lock must give them no reason, however old it is.
func TestViewDoesNotLookStale(t *testing.T) {
	p := process("A")
	longAgo := viewNow.Add(-1000 * time.Hour)
	for _, kind := range []string{"nothing", "session", "hold:600", "own", "started", "pid", "large"} {
		view := Render(payload(kind, p, longAgo), viewNow)
		var fields struct {
			PID       any    `json:"pid"`
			CreatedAt string `json:"createdAt"`
		}
		if json.Unmarshal(view, &fields) == nil && fields.PID != nil {
			t.Errorf("%s: a client can read pid %v in %q", kind, fields.PID, view)
		}
		if bytes.Contains(view, []byte(`"createdAt"`)) && !bytes.Contains(view, []byte(viewNow.Format(stampLayouts[0]))) {
			t.Errorf("%s: createdAt is not now in %q", kind, view)
		}
		if kind == "pid" && strings.TrimSpace(string(view)) != "" {
			t.Errorf("a shell reads %q", view)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"", "1", "123\n", `{"pid":7}`, `{"pid": 7, "createdAt": "2026-03-01T12:00:00.000Z", "starttime": 5}`,
		`{"a":{"pid":5},"pid":-6,"pid":7}`, `{"startedAt":1700000000000,"pid":1}`, `{"note":"\"pid\":5","pid":5}`,
		`{"pid":"pid","pid":5}`, "{\"pid\"\f:5}",
	} {
		f.Add([]byte(s), int64(1772368245678))
	}
	f.Fuzz(func(t *testing.T, data []byte, ms int64) {
		before := bytes.Clone(data)
		view := Render(data, time.UnixMilli(ms))
		if !bytes.Equal(before, data) {
			t.Fatal("the data was changed")
		}
		if len(view) != len(data) {
			t.Fatalf("%d bytes became %d", len(data), len(view))
		}
		for _, at := range plainNumbers(data, "pid", "starttime") {
			if digits := view[at[0]:at[1]]; strings.IndexFunc(string(digits), unicode.IsDigit) >= 0 {
				t.Errorf("%q shows %q", view, digits)
			}
		}
	})
}

// plainNumbers finds where an object has integers under the keys, written plainly, at
// its top level.
func plainNumbers(data []byte, keys ...string) (found [][2]int) {
	if !json.Valid(data) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for d.More() {
		if _, err := d.Token(); err != nil {
			return nil
		}
		before := data[:d.InputOffset()]
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil
		}
		for _, k := range keys {
			plain := bytes.HasSuffix(before, []byte(`"`+k+`"`))
			if plain && strings.Trim(string(value), "-0123456789") == "" {
				end := int(d.InputOffset())
				found = append(found, [2]int{end - len(value), end})
			}
		}
	}
	return found
}
