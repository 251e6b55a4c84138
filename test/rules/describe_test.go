package rules_test

import (
	"fmt"
	"strings"
)

// describe writes a failure down as txtar, as it is kept in internal/bpfgen/testdata.
func (p *proof) describe(f *failure) string {
	var b strings.Builder
	for _, w := range f.wrong {
		fmt.Fprintln(&b, w)
	}
	fmt.Fprintf(&b, "-- ruleset.nft --\n%s-- frames --\n", f.text)
	for _, x := range f.frames[:min(len(f.frames), 5)] {
		fmt.Fprintf(&b, "%s %x\n", f.d.Name, x)
	}
	rs, err := p.lab.load(f.text)
	if err != nil {
		return b.String()
	}
	o := p.lab.oracle(rs, f.d)
	fmt.Fprintln(&b, "-- eval --")
	for _, x := range f.frames[:min(len(f.frames), 5)] {
		e, err := o.run(x)
		fmt.Fprintf(&b, "%s: %s by %s %v\n%s", classOf(x), e.fate, e.by, err, e.way())
	}
	return b.String()
}
