package caps

import (
	"fmt"
	"slices"
	"strings"
)

// Quirk is a kernel bug that matters to offloading, and which kernels have it.
type Quirk struct {
	ID    string // "CVE-2026-74579", or a name of ours
	Title string // what goes wrong
	Scope Scope  // what must be in use for it to matter
	// Since is the first version that has it. Doubt is the first one that may: those before Since have not been looked
	// at. Both zero: not recorded.
	Since, Doubt Version
	// Fixed are the first versions without it, one of each stable line that was fixed, oldest first. Lines before the
	// last one that are missing were never fixed; every later line is without it. Empty: not recorded.
	Fixed []Version
	// Clean are versions that were seen without it where nobody recorded which was the first.
	Clean []Version
	// Seen is the newest version that was seen with it where nobody recorded a fix; later ones are unknown.
	Seen   Version
	Remedy string // besides another kernel
	Source string
}

// Scope says what a ruleset must use for a quirk to matter.
type Scope string

// The scopes.
const (
	ScopeChainOffload     Scope = "chain-offload"     // netdev chains with `flags offload`
	ScopeFlowtable        Scope = "flowtable"         // any flowtable
	ScopeFlowtableOffload Scope = "flowtable-offload" // flowtables with `flags offload`
	ScopeFlowtablePPPoE   Scope = "flowtable-pppoe"   // flowtables and PPPoE
	ScopeFlowtableStacked Scope = "flowtable-stacked" // flowtables and bridges, VLANs or PPPoE
	ScopeFlowtableNAT     Scope = "flowtable-nat"     // flowtables and NAT
)

// Affected says whether a kernel has the bug. It is unknown where nobody recorded which version was fixed, and for
// distribution kernels whose release does not tell their stable version: these take fixes on their own.
func (q Quirk) Affected(v Version) Answer {
	if !v.Known() {
		return Unknown
	}
	first := q.Since
	if q.Doubt.Known() {
		first = q.Doubt
	}
	switch {
	case first.Known() && v.Compare(first) < 0:
		return No
	case !q.Since.Known(), v.Compare(q.Since) < 0:
		return q.atMost(v, Unknown)
	}
	return q.atMost(v, Yes)
}

// atMost lowers an answer of versions that are not fixed to what is known about the fixes.
func (q Quirk) atMost(v Version, unfixed Answer) Answer {
	for _, c := range q.Clean {
		if !v.sameLine(c) {
			continue
		}
		if v.Exact && v.Patch >= c.Patch {
			return No
		}
		return Unknown
	}
	if len(q.Fixed) == 0 {
		if v.Compare(q.Seen) <= 0 {
			return unfixed
		}
		return Unknown
	}
	for _, f := range q.Fixed {
		switch {
		case !v.sameLine(f):
		case v.Patch >= f.Patch:
			return No // also where the release hides a higher patch
		case !v.Exact:
			return Unknown
		default:
			return unfixed
		}
	}
	switch {
	case v.Compare(q.lastFixed()) > 0:
		return No
	case !v.Exact:
		return Unknown
	}
	return unfixed
}

// lastFixed is the newest version that is known to be without the bug.
func (q Quirk) lastFixed() Version {
	return slices.MaxFunc(slices.Concat(q.Fixed, q.Clean), Version.Compare)
}

// sameLine reports whether both are of one stable line.
func (v Version) sameLine(w Version) bool { return v.Major == w.Major && v.Minor == w.Minor }

// FixedIn names the versions without the bug; empty when nobody recorded them.
func (q Quirk) FixedIn() string {
	var parts []string
	for _, f := range q.Fixed {
		parts = append(parts, f.Number())
	}
	for _, c := range q.Clean {
		parts = append(parts, fmt.Sprintf("%s or before", c.Number()))
	}
	return strings.Join(parts, ", ")
}

// FixedFor names the version of a kernel's own stable line that is without the bug, else all that are; empty when nobody
// recorded any.
func (q Quirk) FixedFor(v Version) string {
	for _, f := range slices.Concat(q.Fixed, q.Clean) {
		if f.sameLine(v) {
			return f.Number()
		}
	}
	return q.FixedIn()
}

// QuirksOf returns the quirks that a kernel has or may have, with the answer for each.
func QuirksOf(v Version) []Affected {
	var out []Affected
	for _, q := range Quirks() {
		if a := q.Affected(v); a != No {
			out = append(out, Affected{Quirk: q, Answer: a})
		}
	}
	return out
}

// Affected is a quirk and whether a kernel has it: Yes or Unknown.
type Affected struct {
	Quirk
	Answer Answer
}
