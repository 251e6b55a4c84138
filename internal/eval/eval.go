package eval

import (
	"errors"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Why a constant of a rule cannot be used; the rule is then opaque.
var (
	errNotConstant = errors.New("not a constant of this type")
	errNotKnown    = errors.New("not known to the evaluator")
)

func orInvalid(err error) error {
	if err == nil {
		return errNotConstant
	}
	return err
}

// Evaluator is a ruleset ready for packets, and what they change in it: counters and elements of sets. It is for one
// goroutine.
type Evaluator struct {
	rules   *ruleset.Ruleset
	tables  map[*ruleset.Table]*table
	chains  []*chain // base chains of tables that are not dormant, in the order of the listing
	indexes map[string]uint32
	names   map[uint32]string
	assume  map[Place]bool
	joins   bool // see joinsUnequal
}

// table holds the chains and sets of a table by name.
type table struct {
	chains map[string]*chain
	sets   map[string]*set
}

// chain is a chain with its rules compiled.
type chain struct {
	chain *ruleset.Chain
	seq   int // order of the listing, for base chains
	rules []*rule
}

// rule is a rule as operations that are carried out in order until one breaks or decides.
type rule struct {
	rule   *ruleset.Rule
	ops    []op
	counts []Count
}

// op is a statement or a condition that nft puts before one.
type op struct {
	stmt int
	do   func(*run) status
}

// Count is what a counter of a rule counted.
type Count struct{ Packets, Bytes uint64 }

// status is how an operation or an expression ended.
type status uint8

const (
	known   status = iota // there is a value; go on
	broke                 // the rest of the rule is left out (NFT_BREAK)
	unknown               // a fact is missing; it is among the missing of the run
)

// New makes an evaluator of a ruleset. Devices gives the indexes of devices that rules name, it may be nil.
func New(rs *ruleset.Ruleset, devices map[string]uint32) *Evaluator {
	e := &Evaluator{
		rules: rs, tables: map[*ruleset.Table]*table{}, indexes: map[string]uint32{"lo": 1}, names: map[uint32]string{},
		assume: map[Place]bool{}, joins: joinsUnequal(rs),
	}
	for name, index := range devices {
		e.indexes[name] = index
		e.names[index] = name
	}
	for _, t := range rs.Tables {
		ct := &table{chains: map[string]*chain{}, sets: map[string]*set{}}
		e.tables[t] = ct
		for _, c := range t.Chains {
			ct.chains[c.Name] = &chain{chain: c}
		}
		for _, s := range t.Sets {
			ct.sets[s.Name] = e.namedSet(t, s)
		}
		for _, c := range t.Chains {
			e.addChain(t, ct.chains[c.Name])
		}
	}
	return e
}

func (e *Evaluator) addChain(t *ruleset.Table, c *chain) {
	for _, r := range c.chain.Rules {
		c.rules = append(c.rules, e.compile(t, r))
	}
	if c.chain.Base != nil && !t.Dormant() {
		c.seq = len(e.chains)
		e.chains = append(e.chains, c)
	}
}

// index returns the index of a device by name; a device that nobody numbered gets one that no kernel has.
func (e *Evaluator) index(name string) uint32 {
	if i, ok := e.indexes[name]; ok {
		return i
	}
	const unnumbered = 1 << 30
	i := uint32(unnumbered + len(e.indexes))
	e.indexes[name] = i
	return i
}

// deviceIndex is the index of a packet's device, 0 for none.
func (e *Evaluator) deviceIndex(d *Device) uint32 {
	switch {
	case d == nil:
		return 0
	case d.Index != 0:
		return d.Index
	}
	return e.index(d.Name)
}

// Assume says how a statement ends whose facts are not known: it matches, or it does not.
func (e *Evaluator) Assume(at Place, matches bool) { e.assume[at] = matches }

// Forget takes all assumptions back.
func (e *Evaluator) Forget() { clear(e.assume) }

// Counts returns what the counters of a rule counted, in the order of its counter statements.
func (e *Evaluator) Counts(r *ruleset.Rule) []Count {
	t := e.rules.Table(r.Family, r.Table)
	if t == nil || e.tables[t].chains[r.Chain] == nil {
		return nil
	}
	for _, c := range e.tables[t].chains[r.Chain].rules {
		if c.rule == r {
			return c.counts
		}
	}
	return nil
}
