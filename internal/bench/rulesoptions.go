package bench

import (
	"fmt"
	"slices"
	"time"
)

// Shapes of a chain.
const (
	ShapeExact  = "exact"  // an address and a port, each rule another pair
	ShapeMixed  = "mixed"  // five shapes in turns
	ShapePrefix = "prefix" // prefixes of eleven lengths
	ShapeRange  = "range"  // ranges of addresses
	ShapeSet    = "set"    // one rule and a named set
)

// Shapes are all shapes, in the order of reports.
func Shapes() []string { return []string{ShapeExact, ShapeMixed, ShapePrefix, ShapeRange, ShapeSet} }

// setKeys are what the elements of measured sets are.
func setKeys() []string { return []string{ShapeExact, ShapePrefix, ShapeRange} }

// RulesOptions says what Rules measures. The zero value is the whole benchmark.
type RulesOptions struct {
	// Rules, Elements and Shapes narrow the benchmark down; empty: 1 to 10,000, 1,000 to 1,000,000, all.
	Rules    []int
	Elements []int
	Shapes   []string
	Rounds   int           // of each row; default 5
	Window   time.Duration // of each measurement; default 100 ms
	// Progress is told what is being done, and how much of all is done, 0 to 1.
	Progress func(what string, done float64)
}

func (o RulesOptions) withDefaults() RulesOptions {
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Window == 0 {
		o.Window = 100 * time.Millisecond
	}
	if len(o.Rules) == 0 {
		o.Rules = []int{1, 10, 100, 1000, 10_000}
	}
	if len(o.Elements) == 0 {
		o.Elements = []int{1000, 100_000, 1_000_000}
	}
	if len(o.Shapes) == 0 {
		o.Shapes = Shapes()
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
	return o
}

// Most rules and elements: rules and elements share the addresses of 10.0.0.0/8 out evenly.
const (
	mostRules    = 1 << 24 / ruleSlot
	mostElements = 1 << 24 / elementSlot
)

// Check finds what makes no sense in the options, before anything is done.
func (o RulesOptions) Check() error {
	for _, n := range o.Rules {
		if n < 1 || n > mostRules {
			return fmt.Errorf("%d rules are not from 1 to %d", n, mostRules)
		}
	}
	for _, n := range o.Elements {
		if n < 1 || n > mostElements {
			return fmt.Errorf("%d elements are not from 1 to %d", n, mostElements)
		}
	}
	for _, s := range o.Shapes {
		if !slices.Contains(Shapes(), s) {
			return fmt.Errorf("shape %q is none of %v", s, Shapes())
		}
	}
	if o.Rounds < 0 {
		return fmt.Errorf("%d rounds are too few", o.Rounds)
	}
	return nil
}

// groups are the chains to measure, small ones first.
func (o RulesOptions) groups() []chainKind {
	var out []chainKind
	for _, shape := range o.Shapes {
		if shape == ShapeSet {
			continue
		}
		for _, n := range o.Rules {
			out = append(out, chainKind{shape: shape, rules: n})
		}
	}
	if slices.Contains(o.Shapes, ShapeSet) {
		for _, n := range o.Elements {
			for _, keys := range setKeys() {
				out = append(out, chainKind{shape: ShapeSet, keys: keys, rules: 1, elements: n})
			}
		}
	}
	return out
}
