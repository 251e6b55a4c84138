package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// Rule names a rule for as long as it exists. The handle of its table tells it from the rule of a table of the same name
// that was deleted; rules of a table never have the same handle.
type Rule struct {
	Family      string `json:"family"`
	Table       string `json:"table"`
	TableHandle int    `json:"table-handle"`
	Chain       string `json:"chain"`
	Handle      int    `json:"handle"` // 0: the chain's policy
}

// Counter is packets and bytes as nftables counts them.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (c Counter) add(o Counter) Counter {
	return Counter{Packets: c.Packets + o.Packets, Bytes: c.Bytes + o.Bytes}
}

// The ledger keeps what rules have counted while their programs come and go. Each generation of a program has a map of
// counters and a legend, which says what rule each slot is; both are pinned before the program runs, so no crash loses
// them. When a generation has ended, its counters are folded into the totals: the new totals, which say that it is in
// them, are put in place in one step before its pins go.
type ledger struct {
	dir  string
	book book
	gens map[int]*generation
	keep func(Rule) bool // which rules still exist; nil: all
}

// book is what is pinned of the totals.
type book struct {
	Folded []int   `json:"folded"` // generations that are in the totals
	Totals []total `json:"totals"`
}

type total struct {
	Rule
	Counter
}

// generation is the counters of one program.
type generation struct {
	id       int
	counters *ebpf.Map
	legend   []Rule    // by slot
	ended    time.Time // zero while its program may run
}

// rest is how long the counters of a program that was replaced are left alone: far longer than any run of it.
const rest = time.Second

const (
	totalsPin   = "totals"
	countersPin = "counters"
	legendPin   = "legend"
)

func (l *ledger) pin(kind string, id int) string {
	return filepath.Join(l.dir, fmt.Sprintf("%s-%d", kind, id))
}

// openLedger reads what an earlier daemon has left. Its generations count until Ended says otherwise.
func openLedger(dir string) (*ledger, error) {
	l := &ledger{dir: dir, gens: map[int]*generation{}}
	text, err := readNote(filepath.Join(dir, totalsPin))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &l.book); err != nil {
			return nil, fmt.Errorf("read the totals of rules: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), countersPin+"-")
		id, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		if err := l.adopt(id); err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	return l, nil
}

// adopt takes up a generation. One that is in the totals already goes, and so does one without a legend: its program was
// never attached.
func (l *ledger) adopt(id int) error {
	text, err := readNote(l.pin(legendPin, id))
	if slices.Contains(l.book.Folded, id) || errors.Is(err, os.ErrNotExist) {
		return l.unpin(id)
	}
	if err != nil {
		return err
	}
	g := &generation{id: id}
	if err := json.Unmarshal(text, &g.legend); err != nil {
		return fmt.Errorf("read the legend of counters %d: %w", id, err)
	}
	if g.counters, err = ebpf.LoadPinnedMap(l.pin(countersPin, id), nil); err != nil {
		return fmt.Errorf("open counters %d: %w", id, err)
	}
	l.gens[id] = g
	return nil
}

// begin pins the counters of a program that is about to be attached.
func (l *ledger) begin(counters *ebpf.Map, legend []Rule) (*generation, error) {
	id := 1
	for n := range l.gens {
		id = max(id, n+1)
	}
	for _, n := range l.book.Folded {
		id = max(id, n+1)
	}
	g := &generation{id: id, legend: legend}
	text, err := json.Marshal(legend)
	if err != nil {
		return nil, fmt.Errorf("write legend: %w", err)
	}
	if g.counters, err = counters.Clone(); err != nil {
		return nil, fmt.Errorf("keep counters: %w", err)
	}
	if err := g.counters.Pin(l.pin(countersPin, id)); err != nil {
		return nil, errors.Join(fmt.Errorf("pin counters: %w", err), g.counters.Close())
	}
	if err := writeNote(l.pin(legendPin, id), text); err != nil {
		return nil, errors.Join(err, l.unpin(id), g.counters.Close())
	}
	l.gens[id] = g
	return g, nil
}

// fold puts what ended a while ago into the totals.
func (l *ledger) fold(now time.Time) error {
	var done []*generation
	for _, g := range l.gens {
		if !g.ended.IsZero() && now.Sub(g.ended) >= rest {
			done = append(done, g)
		}
	}
	if len(done) == 0 {
		return nil
	}
	sums := l.totals()
	next := book{Folded: []int{}, Totals: []total{}}
	for _, g := range done {
		if err := g.addTo(sums); err != nil {
			return err
		}
		next.Folded = append(next.Folded, g.id)
	}
	for r, c := range sums {
		if c != (Counter{}) && (l.keep == nil || l.keep(r)) {
			next.Totals = append(next.Totals, total{r, c})
		}
	}
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write the totals of rules: %w", err)
	}
	if err := writeNote(filepath.Join(l.dir, totalsPin), text); err != nil {
		return err
	}
	l.book = next
	var errs []error
	for _, g := range done {
		delete(l.gens, g.id)
		errs = append(errs, l.unpin(g.id), g.counters.Close())
	}
	return errors.Join(errs...)
}

// unpin removes a generation, the counters last: a directory without them has nothing to adopt.
func (l *ledger) unpin(id int) error {
	var errs []error
	for _, kind := range []string{legendPin, countersPin} {
		if err := os.Remove(l.pin(kind, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove counters %d: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (l *ledger) totals() map[Rule]Counter {
	sums := map[Rule]Counter{}
	for _, t := range l.book.Totals {
		sums[t.Rule] = t.Counter
	}
	return sums
}

// read sums up the totals and what is still counting.
func (l *ledger) read() (map[Rule]Counter, error) {
	sums := l.totals()
	for _, g := range l.gens {
		if err := g.addTo(sums); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// addTo adds up the slots of all CPUs.
func (g *generation) addTo(sums map[Rule]Counter) error {
	all, err := readCounters(g.counters)
	if err != nil {
		return fmt.Errorf("read counters %d: %w", g.id, err)
	}
	for slot, r := range g.legend {
		if slot < len(all) {
			sums[r] = sums[r].add(all[slot])
		}
	}
	return nil
}

// readCounters reads a per-CPU array of packets and bytes.
func readCounters(m *ebpf.Map) ([]Counter, error) {
	out := make([]Counter, m.MaxEntries())
	var perCPU []Counter
	for i := range out {
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, err
		}
		for _, c := range perCPU {
			out[i] = out[i].add(c)
		}
	}
	return out, nil
}

func (l *ledger) close() error {
	var errs []error
	for _, g := range l.gens {
		errs = append(errs, g.counters.Close())
	}
	return errors.Join(errs...)
}
