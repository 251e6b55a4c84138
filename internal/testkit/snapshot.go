package testkit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// SnapshotOptions says what a Snapshot looks at beside the network namespaces it is given.
type SnapshotOptions struct {
	// BPF says by name which programs and maps of the machine count, and with them their links; nil: all. Names are
	// cut to 15 bytes by the kernel (BPF_OBJ_NAME_LEN). A test that runs beside others filters.
	BPF func(name string) bool
	// Dirs are directory trees to list: names, types and modes; bpffs directories above all. Missing is fine.
	Dirs []string
}

// State is what withdraw has to leave as it was: eBPF programs, maps and links of the machine, directory trees, and
// per network namespace links with their XDP programs and features, qdiscs, tc filters, tcx attachments, the ruleset
// without its counters, and sysctls.
type State struct {
	opts  SnapshotOptions
	ns    []*NS
	items map[string]string // "what it is" → its value, one line or many
}

// Snapshot reads the state of the machine and of the namespaces.
func Snapshot(o SnapshotOptions, ns ...*NS) (State, error) {
	s := State{opts: o, ns: ns, items: map[string]string{}}
	if err := s.bpf(); err != nil {
		return State{}, err
	}
	for _, dir := range o.Dirs {
		if err := s.tree(dir); err != nil {
			return State{}, err
		}
	}
	for _, n := range ns {
		if err := s.namespace(n); err != nil {
			return State{}, fmt.Errorf("snapshot namespace %s: %w", n.Name, err)
		}
	}
	return s, nil
}

// Adopt takes over into s what changed between two later snapshots, because the test itself has done it.
func (s State) Adopt(before, after State) {
	for k, is := range after.items {
		if was, ok := before.items[k]; !ok || was != is {
			s.items[k] = is
		}
	}
	for k := range before.items {
		if _, ok := after.items[k]; !ok {
			delete(s.items, k)
		}
	}
}

// CheckRestored snapshots now and, at the end of the test, fails it unless everything is again as now within timeout.
// Call it after the namespaces are made and before the first thing that changes them: cleanups run backwards.
func CheckRestored(t testing.TB, timeout time.Duration, o SnapshotOptions, ns ...*NS) {
	t.Helper()
	before, err := Snapshot(o, ns...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := before.AwaitRestored(timeout); err != nil {
			t.Error(err)
		}
	})
}

// Again reads the same things anew.
func (s State) Again() (State, error) { return Snapshot(s.opts, s.ns...) }

// AwaitRestored returns nil as soon as everything is again as in s. The kernel frees programs, maps and links after
// RCU grace periods, so this may take a moment; when timeout passes, the error lists what differs.
func (s State) AwaitRestored(timeout time.Duration) error {
	return Await(timeout, func() error {
		now, err := s.Again()
		if err != nil {
			return err
		}
		if d := s.Diff(now); d != "" {
			return errors.New("not restored:\n" + d)
		}
		return nil
	})
}

// Diff lists what is different in a later state, one line each: "+" added, "-" gone. It returns "" when nothing is.
func (s State) Diff(later State) string {
	var b strings.Builder
	keys := slices.Collect(maps.Keys(s.items))
	for k := range later.items {
		if _, ok := s.items[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		was, before := s.items[k]
		is, after := later.items[k]
		if was == is && before == after {
			continue
		}
		for _, side := range []struct {
			sign, value, other string
			there              bool
		}{{"-", was, is, before}, {"+", is, was, after}} {
			if side.there {
				lines(&b, side.sign, k, side.value, side.other)
			}
		}
	}
	return b.String()
}

// lines writes those lines of value that other has not.
func lines(b *strings.Builder, sign, key, value, other string) {
	have := strings.Split(other, "\n")
	wrote := false
	for line := range strings.SplitSeq(value, "\n") {
		if line != "" && !slices.Contains(have, line) {
			fmt.Fprintf(b, "%s %s: %s\n", sign, key, strings.TrimSpace(line))
			wrote = true
		}
	}
	if !wrote { // only order, number or emptiness of lines differs
		fmt.Fprintf(b, "%s %s: %q\n", sign, key, value)
	}
}
