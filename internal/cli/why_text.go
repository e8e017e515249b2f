package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sessionlockfs/internal/events"
)

// text is the answer for a person.
func (a *Answer) text() string {
	p := &page{}
	p.say("", a.headline())
	p.WriteByte('\n')
	if a.Known != nil {
		p.owner(a)
		p.say("since", a.since())
	}
	p.say(a.knownLabel(), a.howKnown())
	p.asking(a)
	p.refused(a)
	p.file(a)
	for i, e := range a.Expectations {
		p.line(only(i == 0, "clients"), fmt.Sprintf("%-21s %s", e.Client, e.Does))
	}
	p.past(a)
	for i, advice := range a.Advice {
		p.say(only(i == 0, "do now"), advice)
	}
	return p.String()
}

func only(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

func (p *page) owner(a *Answer) {
	owner := a.owner()
	if owner == nil {
		return
	}
	who := named(owner.Comm, owner.PID)
	if n := len(owner.NSPIDs); n > 1 {
		who += fmt.Sprintf(" (%d in its container)", owner.NSPIDs[n-1])
	}
	if a.User != "" {
		who += fmt.Sprintf(", user %s (%d)", Printable(a.User), owner.UID)
	} else {
		who += fmt.Sprintf(", user %d", owner.UID)
	}
	p.say(a.ownerLabel(), who)
	if a.Process != nil {
		p.command(a.Process.Command)
	}
	if a.Container != nil {
		p.say("", a.Container.String())
	}
}

func (c *Container) String() string {
	text := "container"
	if c.Runtime != "" {
		text = c.Runtime + " container"
	}
	if c.Name != "" {
		text += " " + Printable(c.Name)
	}
	text += fmt.Sprintf(" (%s)", Printable(c.ID[:min(12, len(c.ID))]))
	if c.Pod != "" {
		text += ", Kubernetes pod " + Printable(c.Pod)
	}
	return text
}

func (p *page) asking(a *Answer) {
	if a.Known == nil || len(a.Known.Contenders) == 0 {
		p.say("asking", only(a.State == "held" || a.State == "unknown_owner", "Nobody in the last 5 s."))
		return
	}
	var names []string
	for _, c := range a.Known.Contenders {
		names = append(names, fmt.Sprintf("%s (%s ago)", named(c.Comm, c.PID), age(c.LastSeen, a.At)))
	}
	text := strings.Join(names[:min(mostNames, len(names))], ", ")
	if more := len(names) - mostNames; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	p.say("asking", text)
}

func (p *page) refused(a *Answer) {
	told := 0
	for i, r := range a.Refused {
		p.say(only(i == 0, "refused"), a.describe(r))
		if !r.File {
			told += r.Count
		}
	}
	if a.Known != nil && a.Known.RefusedChanges > told {
		p.say(only(len(a.Refused) == 0, "refused"), fmt.Sprintf("%d changes of the lock in all, since it was granted", a.Known.RefusedChanges))
	}
}

func (a *Answer) describe(r Refusals) string {
	who, of := "the owner, or a process that can't be named", ""
	if r.By != nil {
		who = someone(r.By)
	}
	if r.File {
		of = " of " + Printable(a.guarded())
	}
	text := Printable(r.What) + of
	if r.Count > 1 {
		text += fmt.Sprintf(" (%d times)", r.Count)
	}
	text += " by " + who + ", " + age(r.Last, a.At) + " ago"
	if !r.Denied {
		text += "; done, and only told of"
	}
	return text
}

func (p *page) file(a *Answer) {
	switch {
	case a.File == nil:
		p.say("content", "Can't be told: "+PrintableText(a.FileError)+".")
		return
	case a.File.Kind == "":
		return
	case len(a.File.Data) == 0:
		p.say("content", "Nothing: "+a.emptiness())
		return
	}
	lines := strings.Split(strings.TrimSuffix(string(a.File.Data), "\n"), "\n")
	for i, line := range lines[:min(fileLines, len(lines))] {
		p.line(only(i == 0, "content"), escaped(line))
	}
	if len(lines) > fileLines || int64(len(a.File.Data)) < a.File.Size {
		p.line("", fmt.Sprintf("… (%d bytes in all)", max(a.File.Size, int64(len(a.File.Data)))))
	}
	p.say("", a.whosePID())
}

func (a *Answer) emptiness() string {
	if a.File.Kind == "dir" {
		return "it is an empty directory, as some clients make one for a lock."
	}
	return "it is empty; who made it may not have written into it yet."
}

// whosePID says whether the PID in the lock is its owner's.
func (a *Answer) whosePID() string {
	pid, owner := a.File.PID, a.owner()
	switch {
	case pid == 0:
		return "There is no PID in it."
	case owner == nil:
		return fmt.Sprintf("The PID in it, %d, is as its maker saw it, in its container if it has one.", pid)
	}
	switch at := slices.Index(owner.NSPIDs, int32(pid)); {
	case at < 0 || int64(int32(pid)) != pid:
		return fmt.Sprintf("The PID in it, %d, is not the owner's.", pid)
	case len(owner.NSPIDs) == 1:
		return "The PID in it is the owner's."
	case at == len(owner.NSPIDs)-1:
		return "The PID in it is the owner's, as its own container numbers them."
	}
	return "The PID in it is the owner's, but not the one that it has in its own container."
}

func (p *page) past(a *Answer) {
	for i, ev := range a.Recent {
		p.line(only(i == 0, "lately"), a.happened(ev))
	}
	if a.EventsError != "" {
		p.say("lately", "What happened can't be told: "+PrintableText(a.EventsError)+".")
	}
}

// happened is describeEvent for one lock, in one short line.
func (a *Answer) happened(ev events.Event) string {
	stamp := ev.Time.In(a.At.Location()).Format("15:04:05")
	if a.At.Sub(ev.Time) > 12*time.Hour {
		stamp = ev.Time.In(a.At.Location()).Format("Jan 02 15:04")
	}
	text := fmt.Sprintf("%s  %s", stamp, PrintableText(strings.ReplaceAll(ev.Event, "_", " ")))
	if ev.Owner != nil && (ev.By == nil || a.owner() == nil || ev.Owner.PID != a.owner().PID) {
		text += ", " + named(ev.Owner.Comm, ev.Owner.PID)
	}
	if ev.Held > 0 {
		text += ", after " + Span(time.Duration(ev.Held*float64(time.Second)))
	}
	if what := ev.Act + ev.Write; what != "" {
		text += "; " + Printable(what)
	}
	if ev.By != nil {
		text += " by " + named(ev.By.Comm, ev.By.PID)
	}
	if ev.Reason != "" {
		text += ": " + PrintableText(ev.Reason)
	}
	return text
}
