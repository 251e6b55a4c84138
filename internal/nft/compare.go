package nft

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Comparison finds rules of which nft lists other things than the kernel executes. nft makes a rule's text out of what
// the kernel executes, and leaves out what it takes for a matter of course: 1.0.6 lists `ether type ip ip saddr
// 192.0.2.1` without its first half, which is another rule, since it matches frames with a VLAN tag, too. So the rules
// that may run early are loaded again as they were read, in a scratch namespace, and what the kernel has of both is
// compared.
//
// It remembers what it has found, so that only new rules are loaded. The zero value is ready for use.
type Comparison struct {
	mu    sync.Mutex
	found map[ruleKey]string // why the rule differs; empty: it does not
}

// ComparisonError says that rules could not be compared. All of those that packets meet at ingress are marked then.
type ComparisonError struct{ Err error }

// Error renders the cause.
func (e *ComparisonError) Error() string {
	return fmt.Sprintf("compare rules with what nft lists: %v", e.Err)
}

// Unwrap returns the cause.
func (e *ComparisonError) Unwrap() error { return e.Err }

// ruleKey is a digest of a rule's text and code, of nft's version and of the sets that its table declares.
type ruleKey [sha256.Size]byte

// Mark compares the rules of a ruleset that packets meet at ingress with what the kernel has in the calling thread's
// network namespace. Those that differ become Misread. Errors: *ComparisonError, and that of the context.
func (c *Comparison) Mark(ctx context.Context, rs *ruleset.Ruleset) error {
	codes := askCodes(ctx)
	defer codes.close()
	return c.mark(ctx, rs, codes)
}

func (c *Comparison) mark(ctx context.Context, rs *ruleset.Ruleset, codes *codes) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []*comparedTable
	for _, t := range rs.Tables {
		if chains := ingressChains(t); slices.ContainsFunc(chains, func(c *ruleset.Chain) bool { return len(c.Rules) > 0 }) {
			parts = append(parts, &comparedTable{table: t, chains: chains, sets: string(rs.Meta) + declarations(t)})
		}
	}
	found := map[ruleKey]string{}
	err := c.compare(ctx, parts, codes, found)
	c.found = found
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		for _, p := range parts {
			p.misread("it cannot be compared with what the kernel has: " + err.Error())
		}
		return &ComparisonError{err}
	}
	return nil
}

// codes is what the kernel has of rules, and the devices that they may name. Rules of family netdev are asked for at
// once, while nft lists the ruleset: of 10,000, that takes a tenth of a second.
type codes struct {
	asker   *asker
	devices []net.Interface
	err     error
	netdev  map[string][]ruleCode // by table
	done    chan struct{}
}

// askCodes asks the network namespace of the calling thread.
func askCodes(ctx context.Context) *codes {
	c := &codes{done: make(chan struct{})}
	if c.asker, c.err = newAsker(ctx); c.err == nil {
		c.devices, c.err = net.Interfaces()
	}
	go func() {
		defer close(c.done)
		if c.err == nil {
			c.netdev, c.err = c.asker.ruleCodes(ruleset.Netdev, "")
		}
	}()
	return c
}

// of are the rules of a table: none where it is not there.
func (c *codes) of(t *ruleset.Table) ([]ruleCode, error) {
	<-c.done
	if c.err != nil || t.Family == ruleset.Netdev {
		return c.netdev[t.Name], c.err
	}
	rules, err := c.asker.ruleCodes(t.Family, t.Name)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return rules[t.Name], err
}

func (c *codes) close() {
	<-c.done
	if c.asker != nil {
		c.asker.close()
	}
}

// comparedTable is the part of a table that packets meet at ingress.
type comparedTable struct {
	table  *ruleset.Table
	chains []*ruleset.Chain
	sets   string // what the version of nft is, which says how to read rules, and which sets there are
}

// misread marks all rules.
func (p *comparedTable) misread(why string) {
	for _, c := range p.chains {
		for _, r := range c.Rules {
			misread(r, why)
		}
	}
}

func misread(r *ruleset.Rule, why string) {
	if r.Misread == "" {
		r.Misread = why
	}
}

// comparedRule is a rule, and what the kernel has of it.
type comparedRule struct {
	part *comparedTable
	rule *ruleset.Rule
	code string
	key  ruleKey
}

// compare marks the rules that differ, and notes what it has found.
func (c *Comparison) compare(ctx context.Context, parts []*comparedTable, codes *codes, found map[ruleKey]string) error {
	var open []comparedRule
	for _, p := range parts {
		rules, err := p.live(codes)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if why, known := c.found[r.key]; known {
				found[r.key] = why
				misread(r.rule, why)
			} else {
				open = append(open, r)
			}
		}
	}
	if len(open) == 0 {
		return nil
	}
	again, err := (&loader{devices: codes.devices, tries: loadTries}).codes(ctx, open)
	if err != nil {
		return err
	}
	for i, r := range open {
		why := again[i].why
		if why == "" && again[i].code != r.code {
			why = another
		}
		misread(r.rule, why)
		if why == "" || why == another {
			found[r.key] = why
		}
	}
	return nil
}

// live are the rules with what the kernel has of them. A rule that is not there any more is marked at once: the next
// reading will have others. One with `flow add` cannot be at ingress, whatever map may lead there.
func (p *comparedTable) live(codes *codes) ([]comparedRule, error) {
	t := p.table
	rules, err := codes.of(t)
	if err != nil {
		return nil, err
	}
	byHandle := map[int]*ruleCode{}
	for i := range rules {
		byHandle[rules[i].handle] = &rules[i]
	}
	var out []comparedRule
	for _, chain := range p.chains {
		for _, r := range chain.Rules {
			if slices.ContainsFunc(r.Stmts, addsFlows) {
				continue
			}
			code, err := "", error(unix.ENOENT)
			if has := byHandle[r.Handle]; has != nil {
				code, err = codes.asker.whole(t.Family, t.Name, has)
			}
			switch {
			case errors.Is(err, unix.ENOENT):
				misread(r, "it is not there any more")
			case err != nil:
				return nil, err
			default:
				out = append(out, comparedRule{p, r, code, sha256.Sum256(fmt.Append(nil, p.sets, "\x00", uncounted(r), "\x00", code))})
			}
		}
	}
	return out, nil
}

func addsFlows(s ruleset.Stmt) bool {
	_, ok := s.(ruleset.FlowAdd)
	return ok
}

// uncounted is a rule without what it has counted.
func uncounted(r *ruleset.Rule) *ruleset.Rule {
	fresh := *r
	fresh.Stmts = slices.Clone(r.Stmts)
	for i, s := range fresh.Stmts {
		switch s := s.(type) {
		case ruleset.Counter:
			s.Packets, s.Bytes = 0, 0
			fresh.Stmts[i] = s
		case ruleset.Quota:
			s.Used, s.UsedUnit = 0, ""
			fresh.Stmts[i] = s
		}
	}
	return &fresh
}

// loadTries bounds how often rules are loaded in parts because nft refuses them together. The next time, those that are
// known are not among them.
const (
	loadTries = 64
	another   = "what nft lists, loaded again, is another one"
	tooMany   = "nft refuses too many others that were loaded with it"
)

// loader loads rules as they were read.
type loader struct {
	devices []net.Interface // of the calling thread's namespace: rules have their numbers
	tries   int
}

// reread is what the kernel makes of a rule's text, or why nothing.
type reread struct{ code, why string }

// codes is what the kernel makes of each rule.
func (l *loader) codes(ctx context.Context, rules []comparedRule) ([]reread, error) {
	out := make([]reread, len(rules))
	why := tooMany
	if l.tries--; l.tries >= 0 {
		codes, err := l.load(ctx, rules)
		refused, ok := errors.AsType[*Error](err)
		switch {
		case err == nil && len(codes) == len(rules):
			for i, c := range codes {
				out[i].code = c
			}
			return out, nil
		case err != nil && !ok:
			return nil, err
		case len(rules) > 1:
			return l.halves(ctx, rules)
		case err == nil:
			why = "loaded again, it is more than one rule, or none"
		default:
			why = "nft does not read it back: " + refused.first()
		}
	}
	for i := range out {
		out[i].why = why
	}
	return out, nil
}

// halves tries the rules in two parts.
func (l *loader) halves(ctx context.Context, rules []comparedRule) ([]reread, error) {
	first, err := l.codes(ctx, rules[:len(rules)/2])
	if err != nil {
		return nil, err
	}
	second, err := l.codes(ctx, rules[len(rules)/2:])
	return append(first, second...), err
}

// load loads rules all together, and returns what the kernel has of them.
func (l *loader) load(ctx context.Context, rules []comparedRule) (codes []string, err error) {
	tables := bare(rules)
	var text strings.Builder
	for _, t := range tables {
		text.WriteString(t.String())
	}
	err = inScratch(func() error {
		if err := fakeDevices(l.standIns(text.String())); err != nil {
			return err
		}
		if _, err := run(ctx, "read back", "", text.String(), "-f", "-"); err != nil {
			return err
		}
		a, err := newAsker(ctx)
		if err != nil {
			return err
		}
		defer a.close()
		for _, t := range tables {
			of, err := a.codesOf(t)
			if err != nil {
				return err
			}
			codes = append(codes, of...)
		}
		return nil
	})
	return codes, err
}

// codesOf is what the kernel has of the rules of a table, chain by chain.
func (a *asker) codesOf(t *ruleset.Table) ([]string, error) {
	all, err := a.ruleCodes(t.Family, t.Name)
	if err != nil {
		return nil, err
	}
	rules := all[t.Name]
	var out []string
	for _, chain := range t.Chains {
		for i := range rules {
			if rules[i].chain != chain.Name {
				continue
			}
			code, err := a.whole(t.Family, t.Name, &rules[i])
			if err != nil {
				return nil, err
			}
			out = append(out, code)
		}
	}
	return out, nil
}

// standIns are the devices that a text may name, with the numbers that they have.
func (l *loader) standIns(text string) []standIn {
	return slices.DeleteFunc(numbered(l.devices), func(d standIn) bool { return !strings.Contains(text, d.name) })
}

// bare are the tables with nothing but these rules and what they need, in the same order.
func bare(rules []comparedRule) []*ruleset.Table {
	var out []*ruleset.Table
	for len(rules) > 0 {
		p := rules[0].part
		n := slices.IndexFunc(rules, func(r comparedRule) bool { return r.part != p })
		if n < 0 {
			n = len(rules)
		}
		out = append(out, p.bare(rules[:n]))
		rules = rules[n:]
	}
	return out
}

// bare is the table with nothing but these rules and what they need. Elements of named sets are not: rules are the same
// without.
func (p *comparedTable) bare(rules []comparedRule) *ruleset.Table {
	only := map[string][]*ruleset.Rule{}
	for _, r := range rules {
		only[r.rule.Chain] = append(only[r.rule.Chain], uncounted(r.rule))
	}
	t := &ruleset.Table{Family: p.table.Family, Name: p.table.Name, Sets: emptied(p.table)}
	for _, o := range p.table.Objects {
		if o.Kind == "counter" || o.Kind == "quota" || o.Kind == "limit" {
			t.Objects = append(t.Objects, o)
		}
	}
	for _, c := range p.chains {
		fresh := *c
		fresh.Rules = only[c.Name]
		if c.Base != nil {
			base := *c.Base
			base.Devices, base.Flags = []string{"lo"}, nil
			fresh.Base = &base
		}
		t.Chains = append(t.Chains, &fresh)
	}
	return t
}

// emptied are the sets of a table without their elements.
func emptied(t *ruleset.Table) []*ruleset.Set {
	var out []*ruleset.Set
	for _, s := range t.Sets {
		fresh := *s
		fresh.Elems = nil
		out = append(out, &fresh)
	}
	return out
}

func declarations(t *ruleset.Table) string {
	return (&ruleset.Table{Family: t.Family, Name: t.Name, Sets: emptied(t)}).String()
}

// ingressChains are the base chains of a table at ingress and those that their rules may jump to.
func ingressChains(t *ruleset.Table) []*ruleset.Chain {
	var out []*ruleset.Chain
	add := func(c *ruleset.Chain) {
		if c != nil && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	for _, c := range t.Chains {
		if c.Base != nil && c.Base.Hook == "ingress" {
			add(c)
		}
	}
	for i := 0; i < len(out); i++ {
		for _, r := range out[i].Rules {
			for _, s := range r.Stmts {
				for _, target := range targets(t, s) {
					add(t.Chain(target))
				}
			}
		}
	}
	return out
}

// targets are the chains that a statement may lead to.
func targets(t *ruleset.Table, s ruleset.Stmt) []string {
	var out []string
	switch s := s.(type) {
	case ruleset.Verdict:
		out = append(out, s.Target)
	case ruleset.VMap:
		elements, ok := s.Data.(ruleset.SetLit)
		if !ok { // a named map may be given any
			for _, c := range t.Chains {
				if c.Base == nil {
					out = append(out, c.Name)
				}
			}
		}
		for _, e := range elements {
			if p, ok := e.(ruleset.Pair); ok {
				if v, ok := p.Data.(ruleset.Verdict); ok {
					out = append(out, v.Target)
				}
			}
		}
	}
	return out
}
