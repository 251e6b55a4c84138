package bench

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWhatIsMeasuredAreTheExamples(t *testing.T) {
	for name, here := range map[string]string{"router.nft": routerRuleset, "shaping.nft": shaperRules, "shaping.tc": shaperScript} {
		example, err := os.ReadFile("../../examples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if string(example) != here {
			t.Errorf("internal/bench/%s and examples/%[1]s differ: copy the example", name)
		}
	}
}

func TestTextOfTheShapedDemoFitsEightyColumns(t *testing.T) {
	r := ShapedReport{Limit: shaperRate, Checks: []Check{{Name: "a name", Detail: strings.Repeat("many words ", 20)}}}
	for _, p := range []string{PathSlow, PathTC} {
		c := ShapedClass{Class: "interactive", BitsPerSecond: 99.9e6, Idle: Waiting{99, 999}, Loaded: Waiting{999999, 999999}}
		r.Paths = append(r.Paths, ShapedPath{Path: p, Classes: []ShapedClass{c, c}, BitsPerSecond: 99.9e6, FastShare: 1, NsPerPacket: 12345})
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > textWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestTextFitsEightyColumns(t *testing.T) {
	var r Report
	for _, p := range []string{PathSlow, PathTC, PathXDP, PathRaw, PathSender} {
		r.Rows = append(r.Rows, Row{
			Path: p, Family: familyIP6, Flows: 131072, NsPerPacket: 12345.6, Mpps: 0.081, Spread: 0.456, FastShare: 0.5,
			LostShare: 0.123, Failed: "only 50.0 % of the packets were fast",
			Reasons: map[string]uint64{"lease-expired": 1234567890, "renewal": 1234567890, "one-way": 1234567890},
		})
	}
	r.Connections = []Connections{{Proto: "udp", Hook: "xdp", Pairs: 11, Without: 1e6, With: 1e6, Ratio: 1, Low: 0.9, High: 1.1, Confidence: 0.988}}
	r.Targets = r.targets()
	r.Method = (&runner{Options: Options{}.withDefaults()}).method(Machine{Kernel: "6.18.44", CPU: "a processor with a long name of its own"})
	demo := DemoReport{
		Rows:   []DemoRow{{Path: PathRaw, Family: familyIP6, Proto: "tcp", NsPerPacket: 12345, Mpps: 12.34, RatioToSlow: 12.34}},
		Checks: []Check{{Name: "xdp, ip6: tcp payload", Detail: strings.Repeat("many words of it ", 20)}},
	}
	var b strings.Builder
	for _, write := range []func() error{func() error { return r.WriteText(&b) }, func() error { return demo.WriteText(&b) }} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > textWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
