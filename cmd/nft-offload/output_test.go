package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestTableAlignsAndShrinksOneColumn(t *testing.T) {
	tab := newTable(2, "REASON", ">PACKETS", "MEANING")
	tab.row("renewal", "12", "the lease was due; this packet renews it")
	tab.row("a-longer-reason", "1.23M", "short")
	var b bytes.Buffer
	tab.write(&b, 50)
	want := `REASON           PACKETS  MEANING
renewal               12  the lease was due; this…
a-longer-reason    1.23M  short
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 50 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestWrapIndentsWhatFollows(t *testing.T) {
	var b bytes.Buffer
	wrap(&b, "  - ", "one two three averyveryverylongword four", 14)
	want := "  - one two\n    three\n    averyveryverylongword\n    four\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestNumbersSizesAndSpansAreShort(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1.00k", 9994: "9.99k", 9995: "10.0k", 99949: "99.9k", 99950: "100k", 999499: "999k",
		999500: "1.00M", 12345678: "12.3M", 1 << 63: "9.22E",
	} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[uint64]string{5: "5 B", 1500: "1.50 kB", 3 << 30: "3.22 GB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 340 * time.Millisecond: "340ms", 1999 * time.Millisecond: "1.9s", 187 * time.Second: "3m07s",
		125 * time.Minute: "2h05m", 99 * time.Hour: "4d03h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
}

// manyPorts is a bridge with more ports than fit a line.
func manyPorts() engine.Decision {
	d := engine.Decision{Name: "br0", Hook: engine.TC, Slow: []engine.SlowDevice{{
		Name: "br0.7", Reason: engine.Reason{Code: reason.OffDeviceChain, Text: strings.Repeat("more words ", 20)},
	}}}
	for i := range 24 {
		p := engine.Place{Name: fmt.Sprintf("lan%d", i), Hook: engine.TC, Reason: engine.Reason{Code: reason.TCOnly, Text: "a switch port"}, Tags: []engine.Tag{{ID: 100}, {ID: 10}}}
		if i == 20 {
			p.Hook, p.Reason = engine.Off, engine.Reason{Code: reason.OffDeviceChain, Text: strings.Repeat("other words ", 20)}
		}
		d.On = append(d.On, p)
	}
	return d
}

func TestStatusSaysWhereDevicesRun(t *testing.T) {
	no := func(c reason.Reason, text string) engine.Reason { return engine.Reason{Code: c, Text: text} }
	var b bytes.Buffer
	e := &env{stdout: &b, getenv: func(string) string { return "" }}
	e.printDevices([]engine.Decision{
		{Name: "br0", Hook: engine.TC, On: []engine.Place{
			{Name: "r0", Hook: engine.TC, Reason: no(reason.TCByDefault, "r0 is a veth")},
			{Name: "r2", Hook: engine.TC, Reason: no(reason.TCByDefault, "r2 is a veth")},
			{Name: "r3", Hook: engine.Off, Reason: no(reason.OffDeviceChain, "a chain on r3")},
		}, Slow: []engine.SlowDevice{{Name: "br0.7", Reason: no(reason.OffForeignFilter, "a filter on br0.7")}}},
		{Name: "r1", Hook: engine.XDP, On: []engine.Place{{Name: "r1", Hook: engine.XDP}}},
		{Name: "r4.10", Hook: engine.XDP, On: []engine.Place{{Name: "r4", Hook: engine.XDP, Tags: []engine.Tag{{ID: 10}}}}},
		{Name: "r9", Hook: engine.Off, Reason: no(reason.OffNoDevice, "r9 does not exist")},
	})
	want := `
device br0: tc on r0, r2; off on r3
  [tc-by-default] r0 is a veth
  [netdev-chain] a chain on r3
  [foreign-tc-filter] flows through br0.7 stay slow: a filter on br0.7
device r1: xdp
device r4.10: xdp on r4 (tag 10)
device r9: off
  [no-device] r9 does not exist
`
	if got := b.String(); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestStatusFitsEightyColumnsAndColorsOnlyATerminal(t *testing.T) {
	now := time.Unix(1000, 0)
	s := engine.Status{
		Identity: engine.Identity{PID: 1, Version: "devel"}, Since: now.Add(-time.Minute),
		Devices: []engine.Decision{
			{Name: "r0", Hook: engine.TC, Reason: engine.Reason{Code: reason.TCByDefault, Text: strings.Repeat("long words ", 20), Advice: "do something"}},
			manyPorts(),
		},
		Stats: engine.Stats{MaxFlows: 131072, BytesPerFlow: 208, Reasons: []engine.Count{
			{Code: "no-entry", Text: strings.Repeat("meaning ", 20), Counter: engine.Counter{Packets: 7}},
		}},
		Generations: engine.Generations{Count: 3, Last: now, Why: "ruleset generation 4294967295 by nft"},
	}
	for name, c := range map[string]struct {
		columns int
		noColor string
		colored bool
	}{"pipe": {0, "", false}, "terminal": {80, "", true}, "terminal with NO_COLOR": {80, "1", false}} {
		var b bytes.Buffer
		e := &env{stdout: &b, terminal: c.columns, getenv: func(k string) string { return map[string]string{"NO_COLOR": c.noColor}[k] }}
		e.printStatus(s, now)
		if got := strings.Contains(b.String(), "\x1b["); got != c.colored {
			t.Errorf("%s: colored %v, want %v", name, got, c.colored)
		}
		if c.colored {
			continue // escapes take no columns
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > tableWidth {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
}
