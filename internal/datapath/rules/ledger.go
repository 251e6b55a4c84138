package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// The ledger keeps what rules have counted while their programs come and go. Each generation of a program has a map of
// counters and a legend, which says what rule each slot is; both are pinned before the program runs, so no crash loses
// them. When a generation has ended, its counters are folded into the totals: the new totals, which say that it is in
// them, are put in place in one step before its pins go.
type ledger struct {
	dir  string
	look bool // nothing is written
	book book
	gens map[int]*generation
	keep func(Rule) bool // which rules still exist; nil: all
}

// book is what is pinned of the totals.
type book struct {
	Folded  []int             `json:"folded"` // generations that are in the totals
	Rules   []total           `json:"rules"`
	Devices map[string]Totals `json:"devices"`
}

type total struct {
	Rule
	Counter
}

// generation is the counters of one program.
type generation struct {
	id       int
	scratch  *ebpf.Map // its values begin with Totals
	counters *ebpf.Map // nil where nothing counts
	legend   legend
	adopted  bool
	ended    time.Time // zero while its program may run
}

// legend says what is counted.
type legend struct {
	Device string `json:"device"`
	Rules  []Rule `json:"rules"` // by slot
}

// sums are what was counted up to now.
type sums struct {
	rules   map[Rule]Counter
	devices map[string]Totals
}

// rest is how long the counters of a program that was replaced are left alone: far longer than any run of it.
const rest = time.Second

// Names of pins. A generation has the last three, followed by its number.
const (
	totalsPin   = "totals"
	scratchPin  = "scratch"
	countersPin = "counters"
	legendPin   = "legend"
	leasePin    = "lease" // not the ledger's
)

func (l *ledger) pin(kind string, id int) string {
	return filepath.Join(l.dir, fmt.Sprintf("%s-%d", kind, id))
}

// openLedger reads what an earlier daemon has left. Its generations count until Ended says otherwise.
func openLedger(dir string, look bool) (*ledger, error) {
	l := &ledger{dir: dir, look: look, gens: map[int]*generation{}}
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
		number, ok := strings.CutPrefix(e.Name(), scratchPin+"-")
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

// clearLedger removes everything that a ledger has pinned.
func clearLedger(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != leasePin {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// adopt takes up a generation. One that is in the totals already goes, and so does one without a legend: its program was
// never attached.
func (l *ledger) adopt(id int) error {
	text, err := readNote(l.pin(legendPin, id))
	if slices.Contains(l.book.Folded, id) || errors.Is(err, os.ErrNotExist) {
		if l.look {
			return nil
		}
		return l.unpin(id)
	}
	if err != nil {
		return err
	}
	g := &generation{id: id, adopted: true}
	if err := json.Unmarshal(text, &g.legend); err != nil {
		return fmt.Errorf("read the legend of counters %d: %w", id, err)
	}
	if g.scratch, err = ebpf.LoadPinnedMap(l.pin(scratchPin, id), nil); err != nil {
		return fmt.Errorf("open counters %d: %w", id, err)
	}
	l.gens[id] = g
	g.counters, err = ebpf.LoadPinnedMap(l.pin(countersPin, id), nil)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open counters %d: %w", id, err)
	}
	return nil
}

// begin pins the counters of a program that is about to be attached.
func (l *ledger) begin(scratch, counters *ebpf.Map, about legend) (*generation, error) {
	g := &generation{id: l.next(), legend: about}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, fmt.Errorf("write legend: %w", err)
	}
	if g.scratch, err = l.keepMap(scratch, scratchPin, g.id); err == nil && counters != nil {
		g.counters, err = l.keepMap(counters, countersPin, g.id)
	}
	if err == nil {
		err = writeNote(l.pin(legendPin, g.id), text)
	}
	if err != nil {
		return nil, errors.Join(err, g.close(), l.unpin(g.id))
	}
	l.gens[g.id] = g
	return g, nil
}

// next is a number that no generation has, nor one that may still be pinned though it is in the totals.
func (l *ledger) next() int {
	id := 1
	for n := range l.gens {
		id = max(id, n+1)
	}
	for _, n := range l.book.Folded {
		id = max(id, n+1)
	}
	return id
}

// keepMap pins a map and returns a descriptor of our own.
func (l *ledger) keepMap(m *ebpf.Map, kind string, id int) (*ebpf.Map, error) {
	if m == nil {
		return nil, fmt.Errorf("keep %s: the program has none", kind)
	}
	own, err := m.Clone()
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", kind, err)
	}
	if err := own.Pin(l.pin(kind, id)); err != nil {
		return nil, errors.Join(fmt.Errorf("pin %s: %w", kind, err), own.Close())
	}
	return own, nil
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
	sum := l.totals()
	next := book{Folded: l.leftovers(), Rules: []total{}, Devices: sum.devices}
	for _, g := range done {
		if err := g.addTo(sum); err != nil {
			return err
		}
		next.Folded = append(next.Folded, g.id)
	}
	for r, c := range sum.rules {
		if c != (Counter{}) && (l.keep == nil || l.keep(r)) {
			next.Rules = append(next.Rules, total{r, c})
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
		errs = append(errs, l.unpin(g.id), g.close())
	}
	return errors.Join(errs...)
}

// leftovers are generations that are in the totals and whose pins could not be removed.
func (l *ledger) leftovers() []int {
	out := []int{}
	for _, id := range l.book.Folded {
		if _, err := os.Lstat(l.pin(scratchPin, id)); err == nil {
			out = append(out, id)
		}
	}
	return out
}

// unpin removes a generation, the scratch map last: without it there is nothing to adopt.
func (l *ledger) unpin(id int) error {
	var errs []error
	for _, kind := range []string{legendPin, countersPin, scratchPin} {
		if err := os.Remove(l.pin(kind, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove counters %d: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (l *ledger) totals() sums {
	s := sums{rules: map[Rule]Counter{}, devices: maps.Clone(l.book.Devices)}
	if s.devices == nil {
		s.devices = map[string]Totals{}
	}
	for _, t := range l.book.Rules {
		s.rules[t.Rule] = t.Counter
	}
	return s
}

// read sums up the totals and what is still counting.
func (l *ledger) read() (sums, error) {
	s := l.totals()
	for _, g := range l.gens {
		if err := g.addTo(s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// addTo adds up the slots of all CPUs.
func (g *generation) addTo(s sums) error {
	t, err := readTotals(g.scratch)
	if err != nil {
		return fmt.Errorf("read totals %d: %w", g.id, err)
	}
	s.devices[g.legend.Device] = s.devices[g.legend.Device].add(t)
	if g.counters == nil {
		return nil
	}
	all, err := readCounters(g.counters, len(g.legend.Rules))
	if err != nil {
		return fmt.Errorf("read counters %d: %w", g.id, err)
	}
	for slot, c := range all {
		r := g.legend.Rules[slot]
		s.rules[r] = s.rules[r].add(c)
	}
	return nil
}

func (g *generation) close() error {
	var errs []error
	for _, m := range []*ebpf.Map{g.scratch, g.counters} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

func (l *ledger) close() error {
	var errs []error
	for _, g := range l.gens {
		errs = append(errs, g.close())
	}
	return errors.Join(errs...)
}
