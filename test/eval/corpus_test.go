package eval_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const (
	corpus        = "../../internal/ruleset/testdata/real"
	framesPerTurn = 400
	leastPartKept = 50 // percent of a ruleset's rules outside NAT that must be left
	leastRules    = 1000
	leastHit      = 250
)

// TestRealRulesetsCountWhatTheKernelCounts sends frames of new connections, with addresses and ports that the rules name,
// through the rulesets of the corpus, EVAL_TURNS times through each, and each rule counts. Left out is what cannot be compared: NAT, what iptables made,
// and rules that ask what a frame cannot tell (limits, random numbers, routes).
func TestRealRulesetsCountWhatTheKernelCounts(t *testing.T) {
	seed := seedOf(t)
	turns, err := strconv.Atoi(env("EVAL_TURNS", "6"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	paths, err := filepath.Glob(filepath.Join(corpus, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	rules, hit, turn := 0, 0, 0
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(doc), `{"xt": `) {
			continue // nft does not load it
		}
		t.Run(name, func(t *testing.T) {
			counted := map[string]bool{}
			n := 0
			for i := 0; i < turns && !t.Failed(); i++ {
				c := &site{l: l, r: rand.New(rand.NewPCG(seed, uint64(turn))), turn: turn, tuples: map[string]packet.Tuple{}, counted: counted}
				turn++
				n = max(n, c.compare(t, doc))
			}
			t.Logf("%d rules, %d of them counted packets", n, len(counted))
			rules, hit = rules+n, hit+len(counted)
		})
	}
	t.Logf("%d rules compared, %d of them counted packets; %d packets", rules, hit, l.frameSent)
	if rules < leastRules || hit < leastHit {
		t.Errorf("%d rules compared, %d counted packets: want at least %d and %d", rules, hit, leastRules, leastHit)
	}
}

// site is one ruleset of the corpus in the lab.
type site struct {
	l     *lab
	r     *rand.Rand
	turn  int
	addrs [2][]netip.Addr // that the rules name, IPv4 and IPv6
	ports []uint16
	// strangers are addresses that most rules do not name.
	strangers [2]netip.Addr
	// tuples are those of the frames.
	tuples map[string]packet.Tuple
	// counted are the rules that counted in some turn.
	counted map[string]bool
}

// compare loads the ruleset as far as it can be compared, sends frames and compares counters. It returns how many
// rules there were.
func (c *site) compare(t *testing.T, doc []byte) int {
	rs, err := ruleset.Decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	before := prepare(rs)
	c.constants(rs)
	text := c.lab(rs.String())
	rs, err = c.load(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	fs := c.frames()
	for range before {
		if !c.dropUnknown(rs, fs) {
			break
		}
	}
	kept := count(rs)
	if kept*100 < before*leastPartKept {
		t.Errorf("%d of %d rules can be compared", kept, before)
	}
	text = rs.String()
	if rs, err = c.load(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	diffs, err := c.check(rs, fs)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Errorf("%s\n%s", d, d.rule)
	}
	return kept
}

// load loads a ruleset. Chains of netdev tables are all at r0: nft 1.0.6 does not list it.
func (c *site) load(text string) (*ruleset.Ruleset, error) {
	rs, err := c.l.load(text)
	if err != nil {
		return nil, err
	}
	for _, t := range rs.Tables {
		for _, ch := range t.Chains {
			if t.Family == ruleset.Netdev && ch.Base != nil {
				ch.Base.Devices = []string{"r0"}
			}
		}
	}
	return rs, nil
}

// prepare takes out what the lab has not, and makes every rule count. It returns the number of rules that are left.
func prepare(rs *ruleset.Ruleset) int {
	for _, t := range rs.Tables {
		t.Flags, t.Flowtables = nil, nil
		for _, s := range t.Sets {
			if slices.Contains(s.Flags, "dynamic") {
				s.Elems, s.Stmts = nil, nil // what packets put there has a time to live
			}
		}
		var chains []*ruleset.Chain
		for _, c := range t.Chains {
			if b := c.Base; b != nil {
				if b.Type == "nat" || b.Hook == "egress" || b.Hook == "postrouting" || b.Hook == "output" {
					continue
				}
				if t.Family == ruleset.Netdev {
					b.Devices = []string{"r0"}
				}
			}
			c.Rules = slices.DeleteFunc(c.Rules, func(r *ruleset.Rule) bool { return !countable(r) })
			chains = append(chains, c)
		}
		t.Chains = chains
	}
	return count(rs)
}

// countable reports whether a rule can be compared, and puts a counter behind its matches.
func countable(r *ruleset.Rule) bool {
	at := len(r.Stmts)
	for i, s := range r.Stmts {
		switch s := s.(type) {
		case ruleset.FlowAdd, ruleset.Limit, ruleset.Quota, ruleset.CTCount, ruleset.NAT, ruleset.Meter, ruleset.Queue, ruleset.XT:
			return false
		case ruleset.Action:
			if s.Kind != "notrack" && s.Kind != "log" {
				return false
			}
			at = min(at, i)
		case ruleset.SetUpdate:
			if len(s.Stmts) > 0 {
				return false
			}
			at = min(at, i)
		case ruleset.Match:
		default:
			at = min(at, i)
		}
	}
	r.Stmts = slices.Insert(r.Stmts, at, ruleset.Stmt(ruleset.Counter{}))
	r.Stmts = slices.DeleteFunc(r.Stmts, func(s ruleset.Stmt) bool {
		switch s := s.(type) {
		case ruleset.Action:
			return s.Kind == "log" // the kernel's log is not for a test
		case ruleset.Counter:
			return s.Ref != nil // counts more than one rule
		}
		return false
	})
	return true
}

func count(rs *ruleset.Ruleset) int {
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// dropUnknown takes the rules out that ask for more than the lab knows, and reports whether there were any.
func (c *site) dropUnknown(rs *ruleset.Ruleset, fs []frame) bool {
	e := eval.New(rs, c.l.devices)
	drop := map[*ruleset.Rule]bool{}
	for _, f := range fs {
		for _, m := range e.Run(c.packet(f)).Missing {
			chain := rs.Table(m.Place.Family, m.Place.Table).Chain(m.Place.Chain)
			drop[chain.Rules[m.Place.Index]] = true
		}
	}
	for _, t := range rs.Tables {
		for _, ch := range t.Chains {
			ch.Rules = slices.DeleteFunc(ch.Rules, func(r *ruleset.Rule) bool { return drop[r] })
			for i, r := range ch.Rules {
				r.Index = i
			}
		}
	}
	return len(drop) > 0
}

// check sends the frames and returns the rules that counted otherwise than eval says.
func (c *site) check(rs *ruleset.Ruleset, fs []frame) (diffs []difference, err error) {
	e := eval.New(rs, c.l.devices)
	for _, f := range fs {
		if res := e.Run(c.packet(f)); len(res.Missing) > 0 {
			return nil, fmt.Errorf("facts are missing: %v", res.Missing)
		}
	}
	if err := c.l.send(fs); err != nil {
		return nil, err
	}
	err = testkit.Await(2*time.Second, func() error {
		now, err := c.l.list()
		if err != nil {
			return err
		}
		if diffs = compare(e, rs, now); len(diffs) > 0 {
			return errors.New("counters differ")
		}
		return nil
	})
	if len(diffs) > 0 {
		err = nil
	}
	for _, t := range rs.Tables {
		for _, ch := range t.Chains {
			for _, r := range ch.Rules {
				if slices.ContainsFunc(e.Counts(r), func(n eval.Count) bool { return n.Packets > 0 }) {
					c.counted[fmt.Sprint(r.Family, r.Table, r.Chain, r.Index)] = true
				}
			}
		}
	}
	return diffs, err
}
